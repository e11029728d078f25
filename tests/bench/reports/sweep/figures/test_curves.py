from __future__ import annotations

RIVALS = ("magnitude", "woodfisher")


def test_phases_of_few_lines_share_a_panel(make, frame, drawn, line) -> None:
    rows = frame(
        make("cap", "0.5", [80.0, 82.0], fit_seconds=1.0), make("cap", "0.9", [60.0, 62.0], fit_seconds=1.0),
        make("cap", "0.5", [85.0, 87.0], phase="finetuned"), make("magnitude", "0.5", [70.0, 70.0]),
    )  # fmt: skip
    figures = drawn(rows)
    assert list(figures) == ["sweep"]
    [axis] = figures["sweep"].panels
    assert line(axis, "CAP one-shot") == ([50, 90], [81, 61])
    assert line(axis, "CAP fine-tuned") == ([50], [86])
    assert figures["sweep"].legend == ["dense", "1 % relative drop", "GM one-shot", "CAP one-shot", "CAP fine-tuned"]


def test_phases_of_more_lines_have_panels_of_their_own(make, frame, drawn, line) -> None:
    rows = frame(
        make("cap", "0.5", [80.0, 82.0]), make("cap", "0.9", [60.0, 62.0]),
        make("cap", "0.5", [85.0, 87.0], phase="finetuned"), *(make(name, "0.5", [70.0]) for name in RIVALS),
    )  # fmt: skip
    figure = drawn(rows)["sweep"]
    one_shot, tuned = figure.panels
    assert line(one_shot, "CAP") == ([50, 90], [81, 61])
    assert line(tuned, "CAP") == ([50], [86])
    assert [axis.get_title() for axis in (one_shot, tuned)] == ["vit, one-shot", "vit, fine-tuned"]
    assert one_shot.get_xlim() == tuned.get_xlim()
    assert figure.legend == ["dense", "1 % relative drop", "GM", "WF", "CAP"]


def test_the_dense_model_after_the_same_training_is_a_line_across(make, frame, drawn) -> None:
    rows = frame(
        make("cap", "0.5", [80.0]), make("cap", "0.5", [85.0], phase="finetuned"),
        *(make(name, "0.5", [70.0]) for name in RIVALS),
        make("magnitude", "0", [90.0]), make("magnitude", "0", [88.5], phase="finetuned"),
    )  # fmt: skip
    figure = drawn(rows)["sweep"]
    one_shot, tuned = figure.panels
    assert "dense after the same training" not in one_shot.get_legend_handles_labels()[1]
    [across] = [line for line in tuned.lines if line.get_label() == "dense after the same training"]
    assert list(across.get_ydata()) == [88.5, 88.5]
    assert "unpruned" not in figure.legend


def test_controls_alone_are_no_figure(make, frame, drawn) -> None:
    assert drawn(frame(make("magnitude", "0", [90.0]), make("magnitude", "0", [88.5], phase="finetuned"))) == {}


def test_a_panel_ends_where_the_best_line_does_and_says_that_others_go_on(make, frame, drawn) -> None:
    rows = frame(
        make("cap", "0.5", [89.0]), make("cap", "0.9", [80.0]),
        make("magnitude", "0.5", [88.0]), make("magnitude", "0.9", [0.0, 40.0]),
    )  # fmt: skip
    figure = drawn(rows)["sweep"]
    low, high = figure.panels[0].get_ylim()
    assert 70 < low < 80 < 90 < high < 92
    assert any("go on below it" in text.get_text() for text in figure.figure.texts)
    figure = drawn(rows[rows["top1"] > 50])["sweep"]
    assert not any("go on below it" in text.get_text() for text in figure.figure.texts)


def test_of_many_lines_the_main_figure_leaves_the_authors_settings_out(make, frame, drawn) -> None:
    pruners = ("gradient_weight", "woodfisher", "obert", "mfac", "cap")
    rows = frame(*(make(pruner, "0.5", [80.0], setting=setting) for pruner in pruners
                   for setting in ("authors", "tuned")))  # fmt: skip
    figures = drawn(rows)
    assert sorted(figures["sweep"].legend[2:]) == sorted(
        ["GrW tuned", "WF tuned", "oBERT tuned", "M-FAC tuned", "CAP tuned"]
    )
    assert len(figures["sweep_all"].legend) == 2 + 2 * len(pruners)


def test_one_shot_curves_have_the_times_of_the_fits_beside(make, frame, drawn) -> None:
    rows = frame(
        make("cap", "0.5@layer", [80.0], fit_seconds=3.0), make("fastcap", "0.5@layer", [79.0], fit_seconds=1.0),
        make("cap", "0.5@layer", [80.0], fit_seconds=4.0, model="dino"),
    )  # fmt: skip
    figure = drawn(rows)["sweep"]
    *curves, times = figure.panels
    assert [axis.get_title() for axis in curves] == ["vit", "dino"]
    assert sorted(float(dot.get_ydata()[0]) for dot in times.lines) == [1, 3, 4]
    assert times.get_yscale() == "linear"
    assert figure.legend == ["dense", "1 % relative drop", "CAP", "FastCAP"]
    *_, times = drawn(rows.assign(fit_seconds=rows["fit_seconds"] ** 3))["sweep"].panels
    assert times.get_yscale() == "log", "more than a decade"


def test_global_and_layerwise_curves_come_apart(make, frame, drawn, line) -> None:
    pruners = ("gradient_weight", "woodfisher", "mfac", "cap", "magnitude")
    layerwise = ("cap", "fastcap", "wanda", "sparsegpt", "obc", "magnitude")
    rows = frame(
        *(make(pruner, "0.5", [80.0]) for pruner in pruners),
        *(make(pruner, "0.5@layer", [70.0]) for pruner in layerwise),
        make("woodfisher", "0.5", [75.0], options={"block_size": 1}),
    )
    figures = drawn(rows)
    assert list(figures) == ["sweep", "sweep_all"]
    [axis] = figures["sweep_all"].panels
    assert line(axis, "CAP") == ([50], [80])
    assert line(axis, "CAP (per layer)") == ([50], [70])
    assert line(axis, "UM") == ([50], [70])
    assert line(axis, "WF-1") == ([50], [75])
    handles, labels = axis.get_legend_handles_labels()
    looks = {(h.lines[0].get_color(), h.lines[0].get_marker()) for h in handles[2:]}
    assert len(looks) == len(labels) - 2 == 12, "no two look the same"


def test_of_many_pruners_the_main_figure_has_the_best_of_each_family(make, frame, drawn) -> None:
    tops = {"magnitude": 60.0, "random": 20.0, "synflow": 61.0, "gradient_weight": 50.0, "woodfisher": 70.0,
            "obert": 86.0, "mfac": 71.0, "cap": 85.0, "wanda": 66.0, "sparsegpt": 77.0}  # fmt: skip
    rows = frame(*(make(pruner, pattern, [top1]) for pruner, top1 in tops.items() for pattern in ("0.5", "0.9")),
                 make("woodfisher", "0.3", [99.0]))  # fmt: skip
    figures = drawn(rows)
    main = ["SynFlow", "GrW", "CAP", "oBERT", "SparseGPT"]
    assert sorted(figures["sweep"].legend[2:]) == sorted(main), "CAP's, too, and sparsities that all have"
    assert len(figures["sweep_all"].legend) == 2 + len(tops)
    [note] = [text.get_text() for text in figures["sweep"].figure.texts if "best of each family" in text.get_text()]
    assert note.startswith("the best of each family of methods; all 10 in sweep_all")


def test_recipes_are_lines(make, frame, drawn, line) -> None:
    common = {"regime": "gradual", "phase": "finetuned"}
    rows = frame(
        make("cap", "0.5", [88.0], recipe={"schedule": "sawtooth"}, **common),
        make("cap", "0.5", [87.0], recipe={"schedule": "cosine"}, **common),
    )
    [axis] = drawn(rows)["sweep"].panels
    assert line(axis, "CAP schedule=sawtooth") == ([50], [88])
    assert line(axis, "CAP schedule=cosine") == ([50], [87])
    assert axis.get_ylabel() == "fine-tuned top-1, %"
