rule train_dense:
    input:
        data=prepared,
    output:
        expand(
            f"{RUNS}/{DENSE_PATH}/{{file}}",
            file=["epochs.csv", "cycles.csv", "cost.csv", "network.safetensors", "spec.json", "provenance.json"],
            allow_missing=True,
        ),
    log:
        f"{RESULTS}/logs/train_dense/{DENSE_PATH}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_dense/{DENSE_PATH}.tsv"
    # everything else waits for it
    priority: 20
    threads: PRESET.resources.threads
    resources:
        mem_mb=PRESET.resources.mem_mb,
        runtime=PRESET.resources.runtime,
        gpu=PRESET.resources.gpu,
    params:
        spec=spec_json(DENSE, DENSE_PATH),
        out=subpath(output[0], parent=True),
    message:
        "Dense {wildcards.task} {wildcards.recipe} seed {wildcards.seed}"
    shell:
        "prunebench train-dense --spec {params.spec:q} --data {input.data} --out {params.out}"
        " --threads {threads} > {log} 2>&1"


rule train_chain:
    input:
        data=prepared,
        start=dense_network(CHAINS, CHAIN_PATH),
    output:
        expand(
            f"{RUNS}/{CHAIN_PATH}/{{file}}",
            file=[
                "epochs.csv",
                "cycles.csv",
                "gradients.csv",
                "gradient_histograms.csv",
                "cost.csv",
                "spec.json",
                "provenance.json",
            ],
            allow_missing=True,
        ),
    log:
        f"{RESULTS}/logs/train_chain/{CHAIN_PATH}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_chain/{CHAIN_PATH}.tsv"
    threads: PRESET.resources.threads
    resources:
        mem_mb=PRESET.resources.mem_mb,
        runtime=PRESET.resources.runtime,
        gpu=PRESET.resources.gpu,
    params:
        spec=spec_json(CHAINS, CHAIN_PATH),
        start=start_option,
        out=subpath(output[0], parent=True),
    message:
        "Chain {wildcards.task} {wildcards.criterion} {wildcards.schedule} seed {wildcards.seed}"
    shell:
        "prunebench train-chain --spec {params.spec:q} --data {input.data} {params.start} --out {params.out}"
        " --threads {threads} > {log} 2>&1"
