rule judge_claims:
    input:
        plan=f"{RESULTS}/plan.json",
        tables=[path for path in STUDY_TABLES if path.endswith(".csv")],
    output:
        claims=f"{RESULTS}/claims.json",
        table=shown("table", f"{RESULTS}/claims.csv"),
        observations=f"{RESULTS}/observations.csv",
    log:
        f"{RESULTS}/logs/judge_claims.log",
    params:
        results=subpath(input.plan, parent=True),
    message:
        "Judging every claim"
    shell:
        "prunebench judge-claims --plan {input.plan} --runs {params.results}/runs --out {params.results} > {log} 2>&1"


rule calibrate:
    input:
        plan=f"{RESULTS}/plan.json",
        observations=f"{RESULTS}/observations.csv",
    output:
        CALIBRATION_TABLES,
    log:
        f"{RESULTS}/logs/calibrate.log",
    params:
        results=subpath(input.plan, parent=True),
    message:
        "Trying the claims' rules on simulated tables"
    shell:
        "prunebench calibrate {params.results} > {log} 2>&1"


rule draw_calibration:
    input:
        [path for path in CALIBRATION_TABLES if path.endswith(".csv")],
    output:
        CALIBRATION_FIGURES,
    log:
        f"{RESULTS}/logs/draw_calibration.log",
    params:
        tables=subpath(input[0], parent=True),
        out=subpath(output[0], parent=True),
    message:
        "Drawing the calibration of the claims' rules"
    shell:
        "prunebench draw-calibration --tables {params.tables} --out {params.out} > {log} 2>&1"


rule write_report:
    input:
        plan=f"{RESULTS}/plan.json",
        claims=f"{RESULTS}/claims.json",
        observations=f"{RESULTS}/observations.csv",
        runs=f"{RESULTS}/runs.csv",
        tables=[path for path in [*STUDY_TABLES, *CALIBRATION_TABLES] if path.endswith(".csv")],
        figures=[path for path in STUDY_FIGURES if path.endswith(".svg")],
        power=CALIBRATION_FIGURES[0],
    output:
        shown("table", f"{RESULTS}/report.html"),
    log:
        f"{RESULTS}/logs/write_report.log",
    params:
        results=subpath(input.plan, parent=True),
        figures=subpath(input.power, parent=True),
    message:
        "Writing the report"
    shell:
        "prunebench write-report {params.results} --figures {params.figures} --out {output} > {log} 2>&1"


localrules:
    judge_claims,
    draw_calibration,
    write_report,
