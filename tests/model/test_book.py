"""The book's touch and middle."""


def test_touch_and_mid(make):
    book = make.book(make.home, [(99.0, 1.0), (98.0, 2.0)], [(102.0, 1.0), (103.0, 2.0)])
    assert (book.best_bid, book.best_ask, book.mid) == (99.0, 102.0, 100.5)
