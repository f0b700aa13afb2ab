"""prunebench: from data to every table and figure. `snakemake --cores 2` runs the laptop preset; see README.md."""


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/oracle.smk"
include: "workflow/rules/cascade.smk"
include: "workflow/rules/directional.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"


localrules:
    all,
    s_cyc,
    cascade,
    directional,
    tables,
    figures,


rule all:
    default_target: True
    input:
        S_CYC_TABLES,
        S_CYC_FIGURES,
        CASCADE_TABLES,
        CASCADE_FIGURES,
        DIRECTIONAL_TABLES,
        DIRECTIONAL_FIGURES,
        f"{RESULTS}/runs.csv",


rule s_cyc:
    input:
        S_CYC_TABLES,
        S_CYC_FIGURES,


rule cascade:
    input:
        CASCADE_TABLES,
        CASCADE_FIGURES,


rule directional:
    input:
        DIRECTIONAL_TABLES,
        DIRECTIONAL_FIGURES,


rule tables:
    input:
        S_CYC_TABLES,
        CASCADE_TABLES,
        DIRECTIONAL_TABLES,
        f"{RESULTS}/runs.csv",


rule figures:
    input:
        S_CYC_FIGURES,
        CASCADE_FIGURES,
        DIRECTIONAL_FIGURES,
