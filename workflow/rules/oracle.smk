rule search_max_lr:
    input:
        data=prepared,
        start=previous_winner,
    output:
        expand(
            f"{RUNS}/{ORACLE_PATH}/batch-{{{{batch}}}}/{{file}}",
            file=["candidates.csv", "best.safetensors", "spec.json", "provenance.json"],
            allow_missing=True,
        ),
    log:
        f"{RESULTS}/logs/search_max_lr/{ORACLE_PATH}/batch-{{batch}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/search_max_lr/{ORACLE_PATH}/batch-{{batch}}.tsv"
    # the longest path of the DAG runs through the oracle's cycles: start it before the chains
    priority: 10
    threads: PRESET.resources.threads
    resources:
        mem_mb=PRESET.resources.mem_mb,
        runtime=PRESET.resources.runtime,
        gpu=PRESET.resources.gpu,
    params:
        spec=spec_json(ORACLE_JOBS, f"{ORACLE_PATH}/batch-{{batch}}"),
        start=start_option,
        out=subpath(output[0], parent=True),
    message:
        "Oracle {wildcards.task} seed {wildcards.seed} cycle {wildcards.cycle} batch {wildcards.batch}"
    shell:
        "prunebench search-max-lr --spec {params.spec:q} --data {input.data} {params.start}"
        " --out {params.out} --threads {threads} > {log} 2>&1"


rule select_max_lr:
    input:
        expand(
            f"{RUNS}/{ORACLE_PATH}/batch-{{batch}}/{{file}}",
            batch=ORACLE_BATCHES,
            file=["candidates.csv", "best.safetensors"],
            allow_missing=True,
        ),
    output:
        selection=f"{RUNS}/{ORACLE_PATH}/selection.csv",
        winner=f"{RUNS}/{ORACLE_PATH}/winner.safetensors",
    log:
        f"{RESULTS}/logs/select_max_lr/{ORACLE_PATH}.log",
    priority: 10
    params:
        batches=expand(f"{RUNS}/{ORACLE_PATH}/batch-{{batch}}", batch=ORACLE_BATCHES, allow_missing=True),
        out=subpath(output.selection, parent=True),
    message:
        "Oracle's choice {wildcards.task} seed {wildcards.seed} cycle {wildcards.cycle}"
    shell:
        "prunebench select-max-lr {params.batches} --out {params.out} > {log} 2>&1"


localrules:
    select_max_lr,
