"""All jobs of the plan: one template becomes a rule per stage. It is a loop and not `use rule ... as ... with:`, which
needs rule names in this file: the stages of a paper from outside are not known here."""


def job_of(stage, wildcards):
    """The spec of the job that wildcards name."""
    return stage.by_run[wildcards.run]


def digest_of(stage):
    """The digest of a job's spec: a changed number reruns the jobs whose specs hold it and no other."""
    return lambda wildcards: job_of(stage, wildcards).digest()[:12]


def inputs_of(stage):
    """The prepared data set that a job reads, if it reads one, and the files of other jobs."""

    def inputs(wildcards):
        job = job_of(stage, wildcards)
        data = [f"{RESULTS}/data/{job.data}.safetensors"] if job.data else []
        return data + [f"{RUNS}/{file}" for file in job.needs]

    return inputs


for STAGE in PLAN.stages.values():

    rule:
        name:
            STAGE.name
        input:
            inputs_of(STAGE),
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
            out=f"{RUNS}/{STAGE.folder}/{{run}}",
        message:
            f"{STAGE.title} {{wildcards.run}}"
        shell:
            "prunebench run {params.out:q} --plan {params.plan:q} --digest {params.digest} --threads {threads}"
            " > {log:q} 2>&1"


rule tabulate_runs:
    input:
        runs=[f"{RUNS}/{job.folder}/provenance.json" for job in PLAN.trained()],
    output:
        in_report(f"{RESULTS}/runs.csv", None, "table", "runs"),
    log:
        f"{RESULTS}/logs/tabulate_runs.log",
    localrule: True
    params:
        digest=DIGEST,
        plan=PLAN_FILE,
    message:
        "Listing all runs"
    shell:
        "prunebench tabulate-runs --plan {params.plan:q} --out {output:q} > {log:q} 2>&1"
