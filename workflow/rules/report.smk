"""The verdicts, the error rates of their rules, and the report."""


localrules:
    judge_claims,
    calibrate,
    draw_calibration,
    write_report,


rule judge_claims:
    input:
        tables=[file for paper, tables, _ in EXHIBITS[:-1] for file in csv_files(tables)],
    output:
        claims=f"{RESULTS}/claims.json",
        table=in_report(f"{RESULTS}/claims.csv", None, "table", "claims"),
        observations=f"{RESULTS}/observations.csv",
    log:
        f"{RESULTS}/logs/judge_claims.log",
    params:
        results=RESULTS,
        digest=DIGEST,
        plan=PLAN_FILE,
    message:
        "Judging every claim"
    shell:
        "prunebench judge-claims --plan {params.plan:q} --out {params.results:q} > {log:q} 2>&1"


rule calibrate:
    input:
        observations=f"{RESULTS}/observations.csv",
    output:
        table_files(None, exhibits.TABLES),
    log:
        f"{RESULTS}/logs/calibrate.log",
    params:
        results=RESULTS,
        digest=DIGEST,
        out=subpath(output[0], parent=True),
    message:
        "Trying the claims' rules on simulated tables"
    shell:
        "prunebench calibrate {params.results:q} --out {params.out:q} > {log:q} 2>&1"


rule draw_calibration:
    input:
        tables=csv_files(exhibits.TABLES),
    output:
        figure_files(None, exhibits.FIGURES),
    log:
        f"{RESULTS}/logs/draw_calibration.log",
    params:
        plan=PLAN_FILE,
        tables=f"{RESULTS}/tables",
        out=subpath(output[0], parent=True),
    message:
        "Drawing the calibration of the claims' rules"
    shell:
        "prunebench draw calibration --plan {params.plan:q} --tables {params.tables:q} --out {params.out:q}"
        " > {log:q} 2>&1"


rule write_report:
    input:
        claims=f"{RESULTS}/claims.json",
        observations=f"{RESULTS}/observations.csv",
        runs=f"{RESULTS}/runs.csv",
        tables=[file for _, tables, _ in EXHIBITS for file in csv_files(tables)],
        figures=[f"{FIGURES_FOLDER}/{figure.name}.svg" for _, _, figures in EXHIBITS for figure in figures],
    output:
        in_report(f"{RESULTS}/report.html", None, "table", "report"),
    log:
        f"{RESULTS}/logs/write_report.log",
    params:
        results=RESULTS,
        digest=DIGEST,
        figures=FIGURES_FOLDER,
    message:
        "Writing the report"
    shell:
        "prunebench write-report {params.results:q} --figures {params.figures:q} --out {output:q} > {log:q} 2>&1"
