localrules:
    prepare_data,  # may download, and compute nodes seldom reach the internet


def dataset_digest(wildcards):
    """The digest of a data set's entry of the preset, and of the user's file that reads it."""
    dataset = PRESET.datasets[wildcards.dataset]
    files = used_plugins(lambda: [kind_of(SOURCES, dataset.source)])
    return "".join(digest[:12] for digest in (dataset.digest(), *files.values()))


rule prepare_data:
    output:
        data=ensure(f"{RESULTS}/data/{{dataset}}.safetensors", non_empty=True),
        manifest=f"{RESULTS}/data/{{dataset}}.json",
    log:
        f"{RESULTS}/logs/prepare_data/{{dataset}}.log",
    params:
        digest=dataset_digest,
        plan=PLAN_FILE,
    message:
        "Preparing data set {wildcards.dataset}"
    shell:
        "prunebench prepare-data --plan {params.plan:q} --out {output.data:q} > {log:q} 2>&1"


# The plan is not a rule's output, since every job would depend on it: Snakemake compares a job's parameters with those
# of its last run only if no job that it depends on has to run.
onstart:
    if workflow.executor_plugin.name == "slurm":
        try:
            workflow.executor_settings.status_command = programs.status_command()
        except InputError as error:
            raise WorkflowError(str(error))
        if slurm.MACHINE not in os.environ:
            logger.info(slurm.SLOW)
    if workflow.local_exec:
        # Snakemake's limit of submissions is for the queues of clusters. Under it each end of a job starts one more timer
        # that looks at all jobs every second until the last one has ended (9.27).
        workflow.scheduler.job_rate_limiter = None
    lock_folder()
    write_json(Path(PLAN_FILE), PRESET.model_dump(mode="json", exclude={"raw_data"}))
    seal(Path(PLAN_FILE).with_suffix(".sha256"), [Path(PLAN_FILE)])
    if workflow.executor_plugin.name in ("local", "slurm") and PRESET.resources.numerics == "portable":
        try:
            server.start()
        except OSError as error:
            logger.info(f"Jobs start without a server, some seconds later each: {error}")
    tell_screen(workflow, PLAN, PLAN_FILE)
