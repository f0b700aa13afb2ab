"""prunebench: from data to every table and figure. `snakemake --cores 2` runs the laptop preset; see README.md."""


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/runs.smk"
include: "workflow/rules/papers.smk"
include: "workflow/rules/report.smk"


report: "workflow/report.rst"


localrules:
    all,
    tables,
    figures,
    claims,


rule all:
    default_target: True
    input:
        TABLES,
        FIGURES,
        LEDGER,
        f"{RESULTS}/runs.csv",
    message:
        "All tables, figures and verdicts are written"


rule tables:
    input:
        TABLES,
        LEDGER[:2],
        f"{RESULTS}/runs.csv",
    message:
        "All tables are written"


rule figures:
    input:
        FIGURES,
    message:
        "All figures are written"


rule claims:
    input:
        LEDGER,
    message:
        "All verdicts and the report are written"
