from __future__ import annotations

from edgekd import errors


def test_every_error_has_the_documented_exit_code() -> None:
    codes = {kind.__name__: int(kind.exit_code) for kind in errors.EdgekdError.__subclasses__()}
    assert codes == {
        "UsageError": 2,
        "BudgetError": 3,
        "MeasurementError": 5,
        "TargetError": 6,
        "ExportError": 7,
        "ResourceError": 8,
        "PluginError": 1,
    }


def test_suggestion_names_the_nearest_and_lists_all() -> None:
    assert errors.suggestion("logits-lk", ["logits-kl", "dist"]) == "did you mean 'logits-kl'? known: dist, logits-kl"
    assert errors.suggestion("zebra", ["dist"]) == "known: dist"
    assert errors.suggestion("zebra", []) == "known: none"


def test_a_training_that_breaks_off_is_a_mistake_of_its_options() -> None:
    assert issubclass(errors.TrainingError, errors.UsageError)
    assert errors.TrainingError.exit_code == 2
    assert errors.UsageError("no", word="epochs").word == "epochs"
