from __future__ import annotations

from edgekd import errors


def test_every_error_has_the_documented_exit_code() -> None:
    codes = {kind.__name__: int(kind.exit_code) for kind in errors.EdgekdError.__subclasses__()}
    assert codes == {
        "UsageError": 2,
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
