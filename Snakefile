"""prunebench: from data to every table and figure. `snakemake --cores 2` runs the laptop preset; see README.md."""


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/oracle.smk"
include: "workflow/rules/cascade.smk"
include: "workflow/rules/directional.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"


localrules:
    all,
    s_cyc,
    cascade,
    directional,
    tables,
    figures,
    claims,


rule all:
    default_target: True
    input:
        STUDY_TABLES,
        STUDY_FIGURES,
        CALIBRATION_TABLES,
        CALIBRATION_FIGURES,
        CLAIMS,
        f"{RESULTS}/runs.csv",
    message:
        "Every table, figure and verdict is there"


rule s_cyc:
    input:
        S_CYC_TABLES,
        S_CYC_FIGURES,
    message:
        "S-Cyc is there"


rule cascade:
    input:
        CASCADE_TABLES,
        CASCADE_FIGURES,
    message:
        "Cascade weight shedding is there"


rule directional:
    input:
        DIRECTIONAL_TABLES,
        DIRECTIONAL_FIGURES,
    message:
        "Directional pruning is there"


rule tables:
    input:
        STUDY_TABLES,
        CALIBRATION_TABLES,
        CLAIMS[:2],
        f"{RESULTS}/runs.csv",
    message:
        "Every table is there"


rule figures:
    input:
        STUDY_FIGURES,
        CALIBRATION_FIGURES,
    message:
        "Every figure is there"


rule claims:
    input:
        CLAIMS,
    message:
        "Every verdict and the report are there"
