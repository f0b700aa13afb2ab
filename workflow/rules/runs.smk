"""Every job: one template, which becomes a rule per stage of the plan. A loop and not `use rule ... as ... with:`,
which takes names written in the file: a paper from outside has stages that no file here can name."""


def job_of(stage, wildcards):
    """The spec of the job that wildcards name."""
    return stage.by_run[wildcards.run]


def digest_of(stage):
    """A job's digest: a changed number reruns the jobs that hold it and no other."""
    return lambda wildcards: job_of(stage, wildcards).digest()[:12]


def data_of(stage):
    """The prepared data set of a job; none where it reads none."""

    def prepared(wildcards):
        data = job_of(stage, wildcards).data
        return f"{RESULTS}/data/{data}.safetensors" if data else []

    return prepared


def needs_of(stage):
    """What a job reads of other jobs."""
    return lambda wildcards: [f"{RUNS}/{file}" for file in job_of(stage, wildcards).needs]


for STAGE in PLAN.stages.values():

    rule:
        name:
            STAGE.name
        input:
            data=data_of(STAGE),
            needs=needs_of(STAGE),
        output:
            expand(f"{RUNS}/{STAGE.folder}/{{run}}/{{file}}", file=STAGE.files, allow_missing=True),
        log:
            f"{RESULTS}/logs/{STAGE.name}/{{run}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/{STAGE.name}/{{run}}.tsv"
        priority: STAGE.priority
        localrule: STAGE.local
        threads: PRESET.resources.threads
        resources:
            mem_mb=PRESET.resources.mem_mb,
            runtime=PRESET.resources.runtime,
            gpu=PRESET.resources.gpu,
        params:
            digest=digest_of(STAGE),
            plan=PLAN_FILE,
            out=subpath(output[0], parent=True),
        message:
            f"{STAGE.title} {{wildcards.run}}"
        shell:
            "prunebench run {params.out:q} --plan {params.plan:q} --digest {params.digest} --threads {threads}"
            " > {log:q} 2>&1"


rule tabulate_runs:
    input:
        runs=[f"{RUNS}/{job.folder}/provenance.json" for job in PLAN.trained()],
    output:
        shown(f"{RESULTS}/runs.csv", None, "table", "runs"),
    log:
        f"{RESULTS}/logs/tabulate_runs.log",
    localrule: True
    params:
        digest=DIGEST,
        plan=PLAN_FILE,
    message:
        "Listing every run"
    shell:
        "prunebench tabulate-runs --plan {params.plan:q} --out {output:q} > {log:q} 2>&1"
