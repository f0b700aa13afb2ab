localrules:
    prepare_data,  # may download, and compute nodes seldom reach the internet


def dataset_spec(wildcards):
    """A data set's entry of the preset as JSON."""
    return json.dumps(PRESET.datasets[wildcards.dataset].content(), sort_keys=True)


# A source may be a plugin's.
PLUGINS = "".join(f" --plugin {shlex.quote(path)}" for path in PRESET.plugins)


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
        f"prunebench prepare-data --spec {{params.spec:q}} --out {{output.data:q}}{PLUGINS} > {{log:q}} 2>&1"


# Not a rule, since every job would depend on it: Snakemake compares a job's parameters with those of its last run only
# if no job that it depends on has to run.
onstart:
    lock_folder()
    write_json(Path(PLAN_FILE), PRESET.model_dump(mode="json", exclude={"raw_data"}))
    seal(Path(PLAN_FILE).with_suffix(".sha256"), [Path(PLAN_FILE)])
