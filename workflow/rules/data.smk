localrules:
    prepare_data,  # it may download, and compute nodes seldom reach the internet


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


# Not a rule: Snakemake asks a job that comes after another which has to run no more whether its own parameters have
# changed, and every job would come after this one.
onstart:
    write_json(Path(PLAN_FILE), PRESET.model_dump(mode="json", exclude={"raw_data"}))
