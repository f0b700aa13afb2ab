rule train_trajectories:
    input:
        data=prepared,
        start=minima_networks,
    output:
        expand(
            f"{RUNS}/{TRAJECTORIES_PATH}/{{file}}",
            file=["epochs.csv", "weights.csv", "ends.csv", "layers.csv", "spec.json", "provenance.json"],
            allow_missing=True,
        ),
    log:
        f"{RESULTS}/logs/train_trajectories/{TRAJECTORIES_PATH}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_trajectories/{TRAJECTORIES_PATH}.tsv"
    priority: 5
    threads: PRESET.resources.threads
    resources:
        mem_mb=PRESET.resources.mem_mb,
        runtime=PRESET.resources.runtime,
        gpu=PRESET.resources.gpu,
    params:
        spec=spec_json(TRAJECTORIES, TRAJECTORIES_PATH),
        start=start_option,
        out=subpath(output[0], parent=True),
    message:
        "Trajectories {wildcards.task} {wildcards.trajectories} seed {wildcards.seed}"
    shell:
        "prunebench train-trajectories --spec {params.spec:q} --data {input.data} {params.start} --out {params.out}"
        " --threads {threads} > {log} 2>&1"


# The same with networks that other jobs start from.
use rule train_trajectories as train_minima with:
    input:
        data=prepared,
        start=[],
    output:
        expand(
            f"{RUNS}/{MINIMA_PATH}/{{file}}",
            file=[
                "epochs.csv",
                "weights.csv",
                "ends.csv",
                "layers.csv",
                "networks.safetensors",
                "spec.json",
                "provenance.json",
            ],
            allow_missing=True,
        ),
    log:
        f"{RESULTS}/logs/train_minima/{MINIMA_PATH}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_minima/{MINIMA_PATH}.tsv"
    # most of the study waits for it
    priority: 20
    params:
        spec=spec_json(TRAJECTORIES, MINIMA_PATH),
        start="",
        out=subpath(output[0], parent=True),
    message:
        "Minima {wildcards.task} seed {wildcards.seed}"


rule connect_minima:
    input:
        data=prepared,
        start=f"{RUNS}/{MINIMA_PATH}/networks.safetensors",
    output:
        expand(
            f"{RUNS}/{CONNECT_PATH}/{{file}}",
            file=["paths.csv", "curves.csv", "plane.csv", "spec.json", "provenance.json"],
            allow_missing=True,
        ),
    log:
        f"{RESULTS}/logs/connect_minima/{CONNECT_PATH}.log",
    benchmark:
        f"{RESULTS}/benchmarks/connect_minima/{CONNECT_PATH}.tsv"
    priority: 10
    threads: PRESET.resources.threads
    resources:
        mem_mb=PRESET.resources.mem_mb,
        runtime=PRESET.resources.runtime,
        gpu=PRESET.resources.gpu,
    params:
        spec=spec_json(CONNECTIONS, CONNECT_PATH),
        out=subpath(output[0], parent=True),
    message:
        "Connecting minima {wildcards.task} seed {wildcards.seed}"
    shell:
        "prunebench connect-minima --spec {params.spec:q} --data {input.data} --start {input.start}"
        " --out {params.out} --threads {threads} > {log} 2>&1"


rule measure_curvature:
    input:
        data=prepared,
        start=f"{RUNS}/{MINIMA_PATH}/networks.safetensors",
    output:
        expand(
            f"{RUNS}/{CURVATURE_PATH}/{{file}}",
            file=["curvature.csv", "eigenvalues.csv", "spec.json", "provenance.json"],
            allow_missing=True,
        ),
    log:
        f"{RESULTS}/logs/measure_curvature/{CURVATURE_PATH}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_curvature/{CURVATURE_PATH}.tsv"
    priority: 10
    threads: PRESET.resources.threads
    resources:
        mem_mb=PRESET.resources.mem_mb,
        runtime=PRESET.resources.runtime,
        gpu=PRESET.resources.gpu,
    params:
        spec=spec_json(CURVATURES, CURVATURE_PATH),
        out=subpath(output[0], parent=True),
    message:
        "Curvature {wildcards.task} seed {wildcards.seed}"
    shell:
        "prunebench measure-curvature --spec {params.spec:q} --data {input.data} --start {input.start}"
        " --out {params.out} --threads {threads} > {log} 2>&1"


rule run_toy:
    output:
        expand(f"{RUNS}/{TOY_PATH}/{{file}}", file=["toy.csv", "spec.json", "provenance.json"], allow_missing=True),
    log:
        f"{RESULTS}/logs/run_toy/{TOY_PATH}.log",
    params:
        spec=spec_json(TOYS, TOY_PATH),
        out=subpath(output[0], parent=True),
    message:
        "Exact problem {wildcards.problem}"
    shell:
        "prunebench run-toy --spec {params.spec:q} --out {params.out} > {log} 2>&1"


rule time_optimizers:
    output:
        expand(
            f"{RUNS}/directional/overhead/{{file}}", file=["seconds.csv", "memory.csv", "spec.json", "provenance.json"]
        ),
    log:
        f"{RESULTS}/logs/time_optimizers.log",
    threads: PRESET.resources.threads
    resources:
        mem_mb=PRESET.resources.mem_mb,
        runtime=PRESET.resources.runtime,
        gpu=PRESET.resources.gpu,
    params:
        spec=spec_json(OVERHEADS, "directional/overhead"),
        out=subpath(output[0], parent=True),
    message:
        "Timing the optimizers"
    shell:
        "prunebench time-optimizers --spec {params.spec:q} --out {params.out} --threads {threads} > {log} 2>&1"
