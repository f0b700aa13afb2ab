rule prepare_data:
    output:
        data=ensure(f"{RESULTS}/data/{{dataset}}.safetensors", non_empty=True),
        manifest=f"{RESULTS}/data/{{dataset}}.json",
    log:
        f"{RESULTS}/logs/prepare_data/{{dataset}}.log",
    params:
        spec=dataset_spec,
        raw_data=["--raw-data", PRESET.raw_data] if PRESET.raw_data else [],
    message:
        "Preparing data set {wildcards.dataset}"
    shell:
        "prunebench prepare-data --spec {params.spec:q} --out {output.data} {params.raw_data:q} > {log} 2>&1"
