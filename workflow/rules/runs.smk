"""All jobs of the plan: one template becomes a rule per stage. It is a loop and not `use rule ... as ... with:`, which
needs rule names in this file: the stages of a paper from outside are not known here."""

from functools import cache

from prunebench.runs.spec import RunSpec
from prunebench.suite import slurm


def job_of(stage, wildcards):
    """The spec of the job that wildcards name."""
    return stage.by_run[wildcards.run]


def digest_of(stage):
    """The digest of a job's spec: a changed number reruns the jobs whose specs hold it and no other."""
    return signed(lambda wildcards: job_of(stage, wildcards).digest()[:12])


def inputs_of(stage):
    """The prepared data set that a job reads, if it reads one, and the files of other jobs."""

    def inputs(wildcards):
        job = job_of(stage, wildcards)
        data = [f"{RESULTS}/data/{job.data}.safetensors"] if job.data else []
        return data + [f"{RUNS}/{file}" for file in job.needs]

    return signed(inputs)


def gpus_of(stage):
    """The GPUs that a job asks for: one at most where it trains no arms, which is all that processes can share."""
    if not stage.device:
        return 0
    return PRESET.resources.gpu if isinstance(stage.jobs[0], RunSpec) else min(PRESET.resources.gpu, 1)


ALL = 10**6
"""More than there is: Snakemake gives a job that asks for it all that it may give."""


def threads_of(stage, local):
    """The cores of a job; here those of the whole machine where nothing may run beside it. A cluster's node may have
    other people's jobs: what they took is in the verdict's note."""

    def threads(wildcards):  # while rules are read, it is not known yet where jobs run
        if stage.alone and (local or workflow.local_exec):
            return ALL
        return PRESET.resources.threads * max(1, gpus_of(stage))

    return signed(threads)


def command_of(stage):
    """The command that does a job: a process for each GPU where it asks for several (docs/distributed.md)."""
    command = "prunebench do {params.out:q} --plan {params.plan:q} --digest {params.digest}"
    command += f" --workers {PRESET.resources.workers}" if PRESET.resources.workers else ""
    command += " --numerics native" if PRESET.resources.numerics == "native" else ""
    if gpus_of(stage) > 1:
        torchrun = f"python -m torch.distributed.run --standalone --nproc-per-node {gpus_of(stage)}"
        command = f"{torchrun} -m {command}"
    return f"{command} --threads {PRESET.resources.threads} > {{log:q}} 2>&1"


@cache
def requests():
    """What each job asks a cluster for: counted with torch, so only where jobs are submitted."""
    return slurm.requests(PLAN)


def asked(stage, name):
    """`runtime` or `mem_mb` of a stage's jobs at an attempt; where they run at once, the preset's."""

    def value(wildcards, attempt):
        if workflow.local_exec or not workflow.is_main_process:
            return getattr(PRESET.resources, name)
        return requests()[job_of(stage, wildcards).folder].at(name, attempt)

    return signed(value)


for STAGE in PLAN.stages.values():
    LOCAL = not slurm.is_submitted(PRESET, STAGE, gpus_of(STAGE))

    rule:
        name:
            STAGE.name
        input:
            inputs_of(STAGE),
        output:
            expand(f"{RUNS}/{STAGE.folder}/{{run}}/{{file}}", file=STAGE.files, allow_missing=True),
        log:
            f"{RESULTS}/logs/{STAGE.name}/{{run}}.log",
        priority: STAGE.priority
        localrule: LOCAL
        threads: threads_of(STAGE, LOCAL)
        resources:
            **slurm.choices(gpus_of(STAGE)),
            mem_mb=asked(STAGE, "mem_mb"),
            runtime=asked(STAGE, "runtime"),
            local_jobs=LOCAL * (ALL if STAGE.alone else 1),
        params:
            digest=digest_of(STAGE),
            numerics=PRESET.resources.numerics,  # a change reruns
            plan=PLAN_FILE,
            out=f"{RUNS}/{STAGE.folder}/{{run}}",
        message:
            f"{STAGE.title} {{wildcards.run}}"
        shell:
            command_of(STAGE)


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
