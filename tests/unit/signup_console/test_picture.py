"""The picture: boxes in the order of the data, lines and bars that stay inside their frames."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.signup.console.picture import (
    BOX_HEIGHT,
    BOX_WIDTH,
    LINE_HEIGHT,
    LINE_WIDTH,
    Box,
    Picture,
    one_below_the_other,
    shares,
    side_by_side,
    sparkline,
)

BOXES = [Box(title, "/console", "1 waiting", 1.0) for title in ("Signups", "Outbox", "Mail queue", "Gateways")]


@pytest.mark.parametrize("picture", [side_by_side(BOXES), one_below_the_other(BOXES)])
def test_no_box_touches_another_and_an_arrow_leads_from_each_to_the_next(picture: Picture) -> None:
    assert [placed.box for placed in picture.boxes] == BOXES
    for one, next_one in zip(picture.boxes, picture.boxes[1:], strict=False):
        assert next_one.x >= one.x + BOX_WIDTH or next_one.y >= one.y + BOX_HEIGHT
    for placed, (x1, y1, x2, y2), next_one in zip(picture.boxes, picture.arrows, picture.boxes[1:], strict=False):
        assert (x1 > placed.x + BOX_WIDTH) or (y1 > placed.y + BOX_HEIGHT)
        assert (x1 < x2 < next_one.x) or (y1 < y2 < next_one.y)
    assert len(picture.arrows) == len(BOXES) - 1
    assert all(at.x + BOX_WIDTH <= picture.width and at.y + BOX_HEIGHT <= picture.height for at in picture.boxes)


@given(st.lists(st.floats(0, 1e9)))
def test_a_line_stays_in_its_frame_and_goes_from_end_to_end(values: list[float]) -> None:
    line = sparkline("last hour", values)
    points = [tuple(map(float, point.split(","))) for point in line.points.split()]
    assert all(0 <= x <= LINE_WIDTH and 0 <= y <= LINE_HEIGHT for x, y in points)
    assert points[0][0] == 0
    assert len(points) == (len(values) or 2)
    assert len(values) == 1 or points[-1][0] == LINE_WIDTH


def test_the_highest_value_is_at_the_top() -> None:
    line = sparkline("last hour", [1, 4, 2])
    heights = [float(point.partition(",")[2]) for point in line.points.split()]
    assert heights[1] < heights[2] < heights[0]
    assert line.highest == 4


@given(st.dictionaries(st.text(max_size=5), st.integers(0, 10**9), max_size=12))
def test_the_parts_of_a_bar_fill_it_and_each_can_be_seen(numbers: dict[str, int]) -> None:
    found = shares(numbers)
    assert [part.name for part in found] == [name for name, number in numbers.items() if number]
    if found:
        assert sum(part.width for part in found) == pytest.approx(1000, abs=1)
        assert found[-1].x + found[-1].width == pytest.approx(1000, abs=1)
        assert min(part.width for part in found) > 5
