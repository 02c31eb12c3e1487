"""Names of checks that hold for all points of a sweep."""

from sgdsde.sweeps.judging import common_names, shared_names


def test_numbers_that_differ_between_points_are_left_out_and_equal_names_counted():
    here, there = ([f"law at {rate}", f"law at {rate}, x2 within 1,000", "other"] for rate in (0.1, "2e-3"))
    assert shared_names([here, here]) == here
    assert shared_names([here, there]) == ["law at #", "law at #, x2 within #", "other"]
    assert common_names(["rate 0.1", "other", "rate 0.2"]) == ["rate # (1)", "other", "rate # (2)"]


def test_names_of_chunks_with_several_points_and_with_one_are_joined():
    """In either order; a count is not taken for a number of the check's own."""
    several, one = common_names(["rate 0.1", "rate 0.2", "run (3)"]), ["rate 0.3", "rate 0.6", "run (3)"]
    assert several == ["rate # (1)", "rate # (2)", "run (#)"]
    assert shared_names([several, one]) == shared_names([one, several]) == several
