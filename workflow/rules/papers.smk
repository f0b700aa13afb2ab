"""Per paper of the preset: its tables, its figures, and a target with its key as name."""


def run_files(key):
    """The provenance files of a study's runs and of the dense networks that they start from: a finished run has one."""
    jobs = PLAN.jobs(key)
    starts = [need.rsplit("/", 1)[0] for job in jobs for need in job.needs]
    return [f"{RUNS}/{folder}/provenance.json" for folder in dict.fromkeys([*starts, *(job.folder for job in jobs)])]


for KEY, (PAPER, _) in PRESET.studies().items():

    rule:
        name:
            f"tabulate_{KEY}"
        input:
            runs=run_files(KEY),
        output:
            table_files(PAPER, PAPER.tables),
        log:
            f"{RESULTS}/logs/tabulate_{KEY}.log",
        localrule: True
        params:
            key=KEY,
            digest=DIGEST,
            plan=PLAN_FILE,
            out=subpath(output[0], parent=True),
        message:
            f"Tabulating {PAPER.short}"
        shell:
            "prunebench tabulate {params.key} --plan {params.plan:q} --out {params.out:q} > {log:q} 2>&1"

    rule:
        name:
            f"draw_{KEY}"
        input:
            tables=csv_files(PAPER.tables),
        output:
            figure_files(PAPER, PAPER.figures),
        log:
            f"{RESULTS}/logs/draw_{KEY}.log",
        localrule: True
        params:
            key=KEY,
            plan=PLAN_FILE,
            margins=PRESET.margins(KEY).digest()[:12],
            tables=f"{RESULTS}/tables",
            out=subpath(output[0], parent=True),
        message:
            f"Drawing the figures of {PAPER.short}"
        shell:
            "prunebench draw {params.key} --plan {params.plan:q} --tables {params.tables:q} --out {params.out:q}"
            " > {log:q} 2>&1"

    rule:
        name:
            KEY
        input:
            table_files(PAPER, PAPER.tables),
            figure_files(PAPER, PAPER.figures),
        localrule: True
        message:
            f"Tables and figures of {PAPER.short} are written"
