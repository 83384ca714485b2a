import subprocess
import sys

import pytest

from imgret.errors import ImgretError
from imgret.models import MODELS
from imgret.training.recipe import Recipe, as_dict, deciding
from imgret.training.recipe_file import from_dict, override, packaged, read, to_toml


def written(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


def refusal(tmp_path, text):
    """The one line with which a recipe is refused, its file name checked."""
    path = written(tmp_path, text)
    with pytest.raises(ImgretError) as caught:
        read(path)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(str(path))
    return line.removeprefix(str(path))


def test_every_model_has_a_recipe_that_ships_and_trains_that_model():
    assert packaged() == sorted([*MODELS, "default", "default_further", "gem_sfm", "small"])
    assert {name: read(name).model.name for name in MODELS} == {name: name for name in MODELS}


@pytest.mark.parametrize("name", packaged())
def test_a_recipe_that_ships_says_what_it_follows_and_gives_a_command_that_names_it(name):
    from imgret.training import recipe_file

    text = (recipe_file._HOME / f"{name}.toml").read_text()
    header = text.partition("\n\n[")[0]
    assert all(line.startswith("#") and len(line) <= 120 for line in header.splitlines())
    assert f"imgret train {name} " in header
    for word in ("Data ", "Hardware ", "Expected "):
        assert f"# {word}" in header
    if name != "small" and not name.startswith("default"):
        assert "NOT reproduced here" in header or "no figure to compare with" in header


def test_glam_has_the_values_of_its_paper():
    recipe = read("glam")
    assert (recipe.optimiser.lr, recipe.optimiser.momentum, recipe.optimiser.weight_decay) == (1e-3, 0.9, 1e-5)
    assert (recipe.batches.batch_size, recipe.batches.kind) == (64, "size-groups")
    assert recipe.loss.arguments == {"margin": 0.3, "scale": 30.0}


def test_gem_sfm_has_the_values_of_its_authors():
    recipe = read("gem_sfm")
    tuples, optimiser = recipe.tuples, recipe.optimiser
    assert (tuples.queries, tuples.pool, tuples.negatives) == (2000, 22000, 5)
    assert recipe.batches.batch_size == 5 * (2 + 5)
    assert (recipe.loss.name, recipe.loss.arguments) == ("contrastive", {"tau": 0.85})
    assert (optimiser.name, optimiser.lr, recipe.schedule.decay, recipe.schedule.epochs) == ("adam", 5e-7, 0.01, 100)
    assert optimiser.weight_decay == 1e-6 / 5  # their loss is the sum over 5 tuples, ours the mean
    assert (optimiser.rates.gem_p, optimiser.freeze_batch_norm) == (10.0, True)


def test_what_a_file_leaves_out_has_the_defaults(tmp_path):
    recipe = read(written(tmp_path, "[schedule]\nepochs = 7\n"))
    assert recipe.schedule.epochs == 7
    assert recipe.schedule.warmup_epochs == 0.0
    assert (recipe.data, recipe.optimiser, recipe.run) == (Recipe().data, Recipe().optimiser, Recipe().run)
    assert read(written(tmp_path, "")) == Recipe()


def test_the_defaults_keep_their_own_rules():
    assert from_dict(as_dict(Recipe()), "defaults") == Recipe()


def test_a_file_comes_before_a_recipe_that_ships(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read("small.toml") == read("small")
    (tmp_path / "small.toml").write_text("[schedule]\nepochs = 77\n")
    assert read("small.toml").schedule.epochs == 77
    assert read("small").schedule.epochs != 77


@pytest.mark.parametrize("name", ["smal", "smal.toml", "nowhere/small", "../recipes/glam", "/glam"])
def test_a_recipe_that_is_not_there_is_answered_with_those_that_ship(name):
    with pytest.raises(
        ImgretError, match="no such recipe file.*recipes that ship: dalg, default, default_further, dtop"
    ) as caught:
        read(name)
    assert ("did you mean small?" in str(caught.value)) == ("smal" in name)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[schedul]\n", ": unknown section schedul (did you mean schedule?); known: data, model,"),
        ("epochs = 3", ": unknown section epochs; known: data, model,"),
        (
            "[schedule]\nepoch = 3\n",
            ": unknown key schedule.epoch (did you mean epochs?); known: epochs, warmup_epochs",
        ),
        (
            "[optimiser.rates]\ngate = 3\n",
            ": unknown key optimiser.rates.gate (did you mean gates?); known: trunk, head",
        ),
        ("schedule = 3", ": schedule must be a table, as in [schedule]"),
        ("[model]\narguments = 3", ": model.arguments must be a table, got 3"),
        ("[model.arguments]\nhow = {a = 1}", ": model.arguments.how must be a number, a text, true, false or a list"),
        ("[loss.arguments]\nmargin = [1, nan]", ": loss.arguments.margin must be a number, a text"),
        ("[model]\nname = 'glm'", ": model.name must be one of gem, glam"),
        ("[loss]\nname = 'arcfase'", ": loss.name must be one of arcface"),
        ("[batches]\naugment = 'sofft'", ": batches.augment must be one of none, soft"),
        ("[tuples]\nnegative = 3", ": unknown key tuples.negative (did you mean negatives?); known: queries, pool"),
        ("[batches]\nkind = 'sizes'", ": batches.kind must be one of size-groups, fixed, pk"),
    ],
)
def test_what_no_recipe_knows_is_refused_with_its_place(tmp_path, text, line):
    assert refusal(tmp_path, text).startswith(line)


@pytest.mark.parametrize(("word", "near"), [("glm", "glam"), ("gas", "gsa")])
def test_a_model_that_is_misspelt_is_guessed(tmp_path, word, near):
    assert f'(did you mean {near}?), got "{word}"' in refusal(tmp_path, f"[model]\nname = '{word}'")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[schedule]\nepochs = 1.5", "schedule.epochs must be a whole number, got 1.5"),
        ("[schedule]\nepochs = true", "schedule.epochs must be a whole number, got true"),
        ("[schedule]\nepochs = '3'", 'schedule.epochs must be a whole number, got "3"'),
        ("[schedule]\nepochs = 0", "schedule.epochs must be at least 1, got 0"),
        ("[schedule]\ndecay = 0", "schedule.decay must be above 0, got 0.0"),
        ("[tuples]\nqueries = 0", "tuples.queries must be at least 1, got 0"),
        ("[tuples]\npool = 1", "tuples.pool must be at least 2, got 1"),
        ("[tuples]\nnegatives = 0", "tuples.negatives must be at least 1, got 0"),
        ("[schedule]\nfinal_lr = 1.1", "schedule.final_lr must be between 0 and 1, got 1.1"),
        ("[schedule]\nwarmup_epochs = -1", "schedule.warmup_epochs must be 0 or more, got -1.0"),
        ("[optimiser]\nlr = 'high'", 'optimiser.lr must be a number, got "high"'),
        ("[optimiser]\nlr = 0", "optimiser.lr must be above 0, got 0.0"),
        ("[optimiser]\nlr = nan", "optimiser.lr must be a number, got nan"),
        ("[optimiser]\nlr = inf", "optimiser.lr must be a number, got inf"),
        ("[optimiser]\nclip = 0.0", "optimiser.clip must be above 0, got 0.0"),
        ("[optimiser]\nmomentum = 1.0", "optimiser.momentum must be 0 or more and below 1, got 1.0"),
        ("[optimiser]\nema = 1.0", "optimiser.ema must be between 0 and 1, got 1.0"),
        ("[optimiser]\nweight_decay = -1e-5", "optimiser.weight_decay must be 0 or more, got -1e-05"),
        ("[optimiser]\nfreeze_batch_norm = 1", "optimiser.freeze_batch_norm must be true or false, got 1"),
        ("[optimiser.rates]\ntrunk = -0.1", "optimiser.rates.trunk must be 0 or more, got -0.1"),
        ("[batches]\nsize = 16", "batches.size must be a name or at least 32 pixels, got 16"),
        ("[batches]\nsize = 224.0", "batches.size must be a whole number or text in quotes, got 224.0"),
        ("[batches]\nviews = 3", "batches.views must be 1 or 2, got 3"),
        ("[batches]\nbatch_size = 1", "batches.batch_size must be at least 2, got 1"),
        ("[batches]\nworkers = -1", "batches.workers must be at least 0, got -1"),
        ("[validation]\nhold_out = 1.0", "validation.hold_out must be 0 or more and below 1, got 1.0"),
        ("[data]\ndataset = ''", "data.dataset is empty; leave the key out instead"),
        ("[data]\ndataset = ['a']", 'data.dataset must be text in quotes, got ["a"]'),
        ("[data]\ndataset = 1979-05-27", "data.dataset must be text in quotes, got datetime.date(1979, 5, 27)"),
    ],
)
def test_a_value_of_the_wrong_kind_or_size_is_refused_with_its_key(tmp_path, text, line):
    assert refusal(tmp_path, text) == f": {line}"


TUPLES = "[loss]\nname = 'contrastive'\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[batches]\nkind = 'fixed'", 'batches.size must be a side in pixels for kind = "fixed", got "S2"'),
        ("[batches]\nkind = 'pk'", "batches.images_per_class is needed"),
        ("[batches]\nkind = 'pk'\nimages_per_class = 5", "in whole classes, got 64 and 5"),
        ("[batches]\nkind = 'pk'\nimages_per_class = 64", "in whole classes, got 64 and 64"),
        ("[batches]\nimages_per_class = 4", 'batches.images_per_class is for kind = "pk", not "size-groups"'),
        ("[model]\npretrained = true\nstart = 'a.safetensors'", "model.start and model.pretrained"),
        ("[model.arguments]\nbackbone = 'resnet18'", "model.arguments.backbone: write it as backbone under [model]"),
        ("[model.arguments]\npretrained = true", "model.arguments.pretrained: write it as pretrained under [model]"),
        ("[loss]\nmap_weight = 0.1", "loss.map_weight needs heat maps"),
        ("[optimiser]\nfrozen_epochs = 6", "optimiser.frozen_epochs must be at most schedule.epochs, 5"),
        ("[schedule]\nwarmup_epochs = 5", "schedule.warmup_epochs must be below schedule.epochs, 5"),
        ("[validation]\nhold_out = 0.1\nsplit = 'val'\n[data]\nsplit = 'train'", "hold_out and validation.split"),
        ("[validation]\nground_truth = 'gt.json'", "validation.ground_truth and validation.images go together"),
        ("[validation]\nimages = 'photos'", "validation.ground_truth and validation.images go together"),
        ("[schedule]\ndecay = 0.01\nfinal_lr = 0.1", "schedule.decay and schedule.final_lr"),
        ("[tuples]\npool = 9", '[tuples] is for contrastive and triplet, not "arcface"'),
        (
            "[loss]\nname = 'contrastive'",
            "counts images, and a tuple has 7 (2 + tuples.negatives): 63 is 9 tuples, got 64",
        ),
        (
            "[loss]\nname = 'triplet'\n[batches]\nkind = 'pk'\nimages_per_class = 7\nbatch_size = 35",
            'batches.kind = "pk" is for losses on classes; triplet takes "size-groups" or "fixed"',
        ),
        (TUPLES + "[batches]\nbatch_size = 7\nviews = 2", "batches.views is for losses on labels"),
        (TUPLES + "map_weight = 1.0\n[data]\nmaps = 'm'\n[batches]\nbatch_size = 7", "loss.map_weight is for losses"),
        (TUPLES + "[batches]\nbatch_size = 7\n[tuples]\npool = 4", "tuples.pool must be at least tuples.negatives, 5"),
        ("[validation]\npatience = 3", "validation.patience needs something to judge by"),
        ("[validation]\nsplit = 'val'", "validation.split needs data.split"),
        ("[validation]\nsplit = 'val'\n[data]\nsplit = 'val'", 'are both "val"'),
    ],
)
def test_values_that_cannot_both_be_meant_are_refused(tmp_path, text, words):
    assert words in refusal(tmp_path, text)


def test_a_file_that_is_no_toml_is_said_with_its_line(tmp_path):
    assert "is not TOML" in refusal(tmp_path, "[model\n")
    assert "line 2" in refusal(tmp_path, "[model]\nname glam\n")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(ImgretError, match="is not TOML"):
        read(binary)


def test_a_whole_number_serves_where_a_number_is_wanted(tmp_path):
    rate = read(written(tmp_path, "[optimiser]\nclip = 5")).optimiser.clip
    assert rate == 5.0
    assert isinstance(rate, float)


def test_the_command_line_changes_single_values_and_is_checked_too():
    recipe = read("small")
    changed = override(recipe, **{"schedule.epochs": 3, "model.arguments.dim": 64, "data.dataset": "photos"})
    assert (changed.schedule.epochs, changed.model.arguments, changed.data.dataset) == (3, {"dim": 64}, "photos")
    assert changed.optimiser == recipe.optimiser
    assert override(recipe, **{"schedule.epochs": None}) == recipe
    assert recipe.schedule.epochs == 8
    assert recipe.model.arguments == {"dim": 256}
    with pytest.raises(ImgretError, match="command line: schedule.epochs must be at least 1, got 0"):
        override(recipe, **{"schedule.epochs": 0})
    with pytest.raises(ImgretError, match=r"unknown key schedule.epoch \(did you mean epochs\?\)"):
        override(recipe, **{"schedule.epoch": 3})
    with pytest.raises(ImgretError, match=r"epochs is a value, not a section"):
        override(recipe, **{"schedule.epochs.x": 3})


@pytest.mark.parametrize("name", packaged())
def test_a_recipe_written_out_reads_back_the_same(tmp_path, name):
    assert read(written(tmp_path, to_toml(read(name)))) == read(name)


def test_odd_names_and_values_survive_being_written(tmp_path):
    odd = override(
        Recipe(),
        **{
            "data.dataset": 'a "b"\\c\n\x7f é 🏔',
            "model.arguments": {"a b": [1, 2.5, "x", True], "plain": 1e-7, "no": False},
            "batches.size": 160,
        },
    )
    assert read(written(tmp_path, to_toml(odd))) == odd


def test_what_decides_the_result_is_compared_and_what_does_not_is_left_out():
    recipe = read("small")
    free = override(recipe, **{"run.device": "cpu", "run.save_minutes": 1, "batches.workers": 3})
    assert deciding(free) == deciding(recipe)
    for key, value in (("run.seed", 1), ("optimiser.rates.head", 2.0), ("model.arguments.dim", 8), ("data.root", "x")):
        decided = deciding(override(recipe, **{key: value}))
        assert decided[key] == value
        assert {k for k in decided if decided[k] != deciding(recipe).get(k)} == {key}


def test_the_section_of_tuples_decides_only_where_the_loss_is_on_tuples():
    assert not [key for key in deciding(read("small")) if key.startswith("tuples")]
    assert deciding(read("gem_sfm"))["tuples.pool"] == 22000


def test_reading_a_recipe_loads_neither_torch_nor_numpy():
    code = "import sys; from imgret.training.recipe_file import read; read('small'); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert {"torch", "numpy"} & set(run.stdout.split()) == set()
