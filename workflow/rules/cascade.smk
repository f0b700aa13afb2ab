rule retrain:
    input:
        data=prepared,
        start=dense_network(RETRAINS, RETRAIN_PATH),
    output:
        expand(
            f"{RUNS}/{RETRAIN_PATH}/{{file}}",
            file=[
                "epochs.csv",
                "phases.csv",
                "shedding.csv",
                "histograms.csv",
                "occupancy.csv",
                "masks.safetensors",
                "spec.json",
                "provenance.json",
            ],
            allow_missing=True,
        ),
    log:
        f"{RESULTS}/logs/retrain/{RETRAIN_PATH}.log",
    benchmark:
        f"{RESULTS}/benchmarks/retrain/{RETRAIN_PATH}.tsv"
    # jobs of many arms: started last, they would leave a core idle at the end
    priority: 5
    threads: PRESET.resources.threads
    resources:
        mem_mb=PRESET.resources.mem_mb,
        runtime=PRESET.resources.runtime,
        gpu=PRESET.resources.gpu,
    params:
        spec=spec_json(RETRAINS, RETRAIN_PATH),
        start=start_option,
        out=subpath(output[0], parent=True),
    message:
        "Retraining {wildcards.task} {wildcards.part} seed {wildcards.seed} batch {wildcards.batch}"
    shell:
        "prunebench retrain --spec {params.spec:q} --data {input.data} {params.start} --out {params.out}"
        " --threads {threads} > {log} 2>&1"


rule compare_masks:
    input:
        masks=lambda wildcards: expand(f"{RUNS}/{{run}}/masks.safetensors", run=keeping_masks(wildcards)),
        specs=lambda wildcards: expand(f"{RUNS}/{{run}}/spec.json", run=keeping_masks(wildcards)),
    output:
        f"{RUNS}/cascade/{{task}}/overlap.csv",
    log:
        f"{RESULTS}/logs/compare_masks/{{task}}.log",
    params:
        folders=lambda wildcards: expand(f"{RUNS}/{{run}}", run=keeping_masks(wildcards)),
    message:
        "Comparing the weights kept in {wildcards.task}"
    shell:
        "prunebench compare-masks {params.folders} --out {output} > {log} 2>&1"
