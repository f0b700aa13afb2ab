localrules:
    write_plan,
    tabulate_runs,


rule write_plan:
    output:
        f"{RESULTS}/plan.json",
    params:
        plan=PRESET.model_dump_json(exclude={"raw_data"}),
    message:
        "Writing the resolved preset"
    run:
        write_json(Path(output[0]), json.loads(params.plan))


rule tabulate_runs:
    input:
        plan=f"{RESULTS}/plan.json",
        runs=expand(f"{RUNS}/{{run}}/provenance.json", run=[*DENSE, *CHAINS, *ORACLE_JOBS, *RETRAINS, *TRAJECTORIES]),
    output:
        shown("table", f"{RESULTS}/runs.csv"),
    log:
        f"{RESULTS}/logs/tabulate_runs.log",
    params:
        results=subpath(input.plan, parent=True),
    message:
        "Listing every run"
    shell:
        "prunebench tabulate-runs --plan {input.plan} --runs {params.results}/runs --out {output} > {log} 2>&1"


if PRESET.s_cyc:

    localrules:
        tabulate_s_cyc,

    rule tabulate_s_cyc:
        input:
            plan=f"{RESULTS}/plan.json",
            chains=expand(f"{RUNS}/{{run}}/cycles.csv", run=CHAINS),
            oracle=expand(f"{RUNS}/{{cycle}}/selection.csv", cycle=ORACLE_CYCLES),
        output:
            S_CYC_TABLES,
        log:
            f"{RESULTS}/logs/tabulate_s_cyc.log",
        params:
            results=subpath(input.plan, parent=True),
            out=subpath(output[0], parent=True),
        message:
            "Tabulating S-Cyc"
        shell:
            "prunebench tabulate-s-cyc --plan {input.plan} --runs {params.results}/runs --out {params.out} > {log} 2>&1"


if PRESET.cascade:

    localrules:
        tabulate_cascade,

    rule tabulate_cascade:
        input:
            plan=f"{RESULTS}/plan.json",
            runs=expand(f"{RUNS}/{{run}}/phases.csv", run=RETRAINS),
            overlap=expand(f"{RUNS}/cascade/{{task}}/overlap.csv", task=COMPARED),
        output:
            CASCADE_TABLES,
        log:
            f"{RESULTS}/logs/tabulate_cascade.log",
        params:
            results=subpath(input.plan, parent=True),
            out=subpath(output[0], parent=True),
        message:
            "Tabulating cascade weight shedding"
        shell:
            "prunebench tabulate-cascade --plan {input.plan} --runs {params.results}/runs --out {params.out} > {log} 2>&1"


if PRESET.directional:

    localrules:
        tabulate_directional,

    rule tabulate_directional:
        input:
            plan=f"{RESULTS}/plan.json",
            runs=expand(
                f"{RUNS}/{{run}}/provenance.json", run=[*TRAJECTORIES, *CONNECTIONS, *CURVATURES, *TOYS, *OVERHEADS]
            ),
        output:
            DIRECTIONAL_TABLES,
        log:
            f"{RESULTS}/logs/tabulate_directional.log",
        params:
            results=subpath(input.plan, parent=True),
            out=subpath(output[0], parent=True),
        message:
            "Tabulating directional pruning"
        shell:
            "prunebench tabulate-directional --plan {input.plan} --runs {params.results}/runs --out {params.out}"
            " > {log} 2>&1"
