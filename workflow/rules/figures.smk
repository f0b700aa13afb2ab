if PRESET.s_cyc:

    localrules:
        draw_s_cyc,

    rule draw_s_cyc:
        input:
            [path for path in S_CYC_TABLES if path.endswith(".csv")],
        output:
            S_CYC_FIGURES,
        log:
            f"{RESULTS}/logs/draw_s_cyc.log",
        params:
            tables=subpath(input[0], parent=True),
            out=subpath(output[0], parent=True),
        message:
            "Drawing S-Cyc's figures"
        shell:
            "prunebench draw-s-cyc --tables {params.tables} --out {params.out} > {log} 2>&1"


if PRESET.cascade:

    localrules:
        draw_cascade,

    rule draw_cascade:
        input:
            [path for path in CASCADE_TABLES if path.endswith(".csv")],
        output:
            CASCADE_FIGURES,
        log:
            f"{RESULTS}/logs/draw_cascade.log",
        params:
            tables=subpath(input[0], parent=True),
            out=subpath(output[0], parent=True),
        message:
            "Drawing the figures of cascade weight shedding"
        shell:
            "prunebench draw-cascade --tables {params.tables} --out {params.out} > {log} 2>&1"


if PRESET.directional:

    localrules:
        draw_directional,

    rule draw_directional:
        input:
            [path for path in DIRECTIONAL_TABLES if path.endswith(".csv")],
        output:
            DIRECTIONAL_FIGURES,
        log:
            f"{RESULTS}/logs/draw_directional.log",
        params:
            tables=subpath(input[0], parent=True),
            out=subpath(output[0], parent=True),
        message:
            "Drawing the figures of directional pruning"
        shell:
            "prunebench draw-directional --tables {params.tables} --out {params.out} > {log} 2>&1"
