"""Unit test: the reject node in pytest, in-process, with no coordinator."""

# snippet:start
from reject import node

from meshloom.testing import run


def test_readings_without_a_temperature_are_rejected() -> None:
    roof = {"sensor": "roof", "celsius": 31.5}
    result = run(node, [roof, {"sensor": "gate"}], redeliver=True, splits="random")
    assert result.values == [roof | {"fahrenheit": 88.7}]
    assert result.reasons == {1: "NO_TEMPERATURE"}
    assert result.redelivered is not None
    assert result.redelivered.values == result.values


# snippet:end
