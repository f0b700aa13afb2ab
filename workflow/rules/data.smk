localrules:
    prepare_data,  # it may download, and compute nodes seldom reach the internet


rule prepare_data:
    output:
        data=ensure(f"{RESULTS}/data/{{dataset}}.safetensors", non_empty=True),
        manifest=f"{RESULTS}/data/{{dataset}}.json",
    log:
        f"{RESULTS}/logs/prepare_data/{{dataset}}.log",
    params:
        spec=dataset_spec,
    message:
        "Preparing data set {wildcards.dataset}"
    shell:
        "prunebench prepare-data --spec {params.spec:q} --out {output.data} > {log} 2>&1"
