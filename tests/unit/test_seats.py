"""Places for guests."""

from bpfcompat.seats import ONE, Seats, Worth


def test_as_many_as_are_free() -> None:
    """A question gets what it is worth while there is room, and always one."""
    seats = Seats(4, 16)
    with seats.taken(ONE) as one, seats.taken(Worth(8)) as some, seats.taken(Worth(8)) as last:
        assert (one, some, last) == (1, 3, 1)
        with seats.taken(Worth(8, waits=True)) as waiting:
            assert waiting == 8
        with seats.taken(Worth(8, waits=True)) as a, seats.taken(Worth(8, waits=True)) as b:
            assert (a, b) == (8, 3)
    with seats.taken(Worth(8)) as again:
        assert again == 4


def test_free_again_after_trouble() -> None:
    """A question that ends in an error leaves no place taken."""
    seats = Seats(2, 2)
    try:
        with seats.taken(Worth(2)):
            raise RuntimeError
    except RuntimeError:
        pass
    with seats.taken(Worth(2)) as count:
        assert count == 2


def test_a_set_number_holds() -> None:
    """Who says how many guests there may be gets no more, however much they wait."""
    seats = Seats(4, 16)
    seats.limit(1)
    with seats.taken(Worth(8, waits=True)) as count:
        assert count == 1
