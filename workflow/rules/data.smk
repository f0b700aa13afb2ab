localrules:
    prepare_data,  # it may download, and compute nodes seldom reach the internet
    write_plan,


def dataset_spec(wildcards):
    """A data set's entry of the preset as JSON."""
    return json.dumps(PRESET.datasets[wildcards.dataset].content(), sort_keys=True)


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
        "prunebench prepare-data --spec {params.spec:q} --out {output.data:q} > {log:q} 2>&1"


rule write_plan:
    output:
        f"{RESULTS}/plan.json",
    params:
        digest=PRESET.model_copy(update={"raw_data": None}).digest()[:12],
    message:
        "Writing the resolved preset"
    run:
        write_json(Path(output[0]), PRESET.model_dump(mode="json", exclude={"raw_data"}))
