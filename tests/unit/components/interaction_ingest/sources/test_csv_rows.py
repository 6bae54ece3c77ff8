import csv
import io
import random

import numpy as np
import pytest

from components.interaction_ingest.sources import csv_rows, streams
from components.interaction_ingest.sources.csv_rows import LARGEST_ROW_BREAKS, read_blocks, split_header
from components.interaction_ingest.sources.streams import SourceStream

pytestmark = pytest.mark.unit


def cut(tmp_path, content, monkeypatch, chunk_bytes, delimiter=","):
    monkeypatch.setattr(streams, "CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(streams, "SLICE_BYTES", chunk_bytes)
    (tmp_path / "log.csv").write_bytes(content)
    with SourceStream(str(tmp_path / "log.csv"), whole_lines=False) as stream:
        return list(read_blocks(stream, delimiter))


@pytest.mark.parametrize("chunk_bytes", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_blocks_are_whole_rows(tmp_path, monkeypatch, chunk_bytes, line_end):
    values = ["", "a", 'say "hi"', "two\nlines", 'comma, quote""\n\n"', "ü", '"']
    generator = random.Random(1)
    rows = [[str(n), *generator.choices(values, k=2)] for n in range(60)]
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerows(rows)
    text = sink.getvalue().replace("\n", line_end)
    rows = [[value.replace("\n", line_end) for value in row] for row in rows]
    # Empty lines are no rows.
    blocks = cut(tmp_path, (text + line_end + text).encode(), monkeypatch, chunk_bytes)
    found = []
    for block in blocks:
        block_rows = [row for row in csv.reader(io.StringIO(block.content.decode(), newline="")) if row]
        assert len(block_rows) == len(block.numbers)
        found += block_rows
    assert found == rows * 2
    assert np.concatenate([block.numbers for block in blocks]).tolist() == list(range(120))
    assert not any(block.unclosed for block in blocks)


@pytest.mark.parametrize("chunk_bytes", [3, 1 << 20])
def test_marks_inside_unquoted_values_are_none(tmp_path, monkeypatch, chunk_bytes):
    lines = [b'a;12" vinyl;x\n', b'b;"say ""hi"""\n', b'c;5";6"\n', b'd;"x\ny";""\n']
    blocks = cut(tmp_path, b"".join(lines), monkeypatch, chunk_bytes, delimiter=";")
    assert b"".join(block.content for block in blocks) == b"".join(lines)
    assert sum(len(block.numbers) for block in blocks) == 4
    if chunk_bytes == 3:
        assert [block.content for block in blocks] == lines


@pytest.mark.parametrize("chunk_bytes", [50, 1 << 20])
def test_a_value_with_too_many_line_breaks_is_given_up(tmp_path, monkeypatch, chunk_bytes):
    long = b'b,"' + b'x""\n' * (LARGEST_ROW_BREAKS + 1) + b'"\n'
    blocks = cut(tmp_path, b"a,1\n" + long + b'c,"2\n3"\n', monkeypatch, chunk_bytes)
    [unclosed] = [row for block in blocks for row in block.unclosed]
    assert (unclosed.number, unclosed.lines) == (1, LARGEST_ROW_BREAKS + 2)
    assert unclosed.text.startswith(b'b,"x""\nx')
    assert b"".join(block.content for block in blocks) == b'a,1\nc,"2\n3"\n'
    assert [number for block in blocks for number in block.numbers] == [0, 2]


@pytest.mark.parametrize("chunk_bytes", [50, 1 << 20])
@pytest.mark.parametrize("lines", [5, 3 * LARGEST_ROW_BREAKS])
def test_a_mark_that_is_never_closed_counts_all_lines(tmp_path, monkeypatch, chunk_bytes, lines):
    blocks = cut(tmp_path, b'a,1\nb,"2\n' + b"c,3\n" * (lines - 1), monkeypatch, chunk_bytes)
    assert [(row.number, row.lines) for block in blocks for row in block.unclosed] == [(1, lines)]


def test_a_header_is_taken_off(tmp_path, monkeypatch):
    [block] = cut(tmp_path, b'\xef\xbb\xbf\n"a\nb",c,c\n1,2,3\n', monkeypatch, 1 << 20)
    names, rest = split_header(block, ",")
    assert (names, rest.content, rest.numbers.tolist()) == (["a\nb", "c", "c"], b"1,2,3\n", [1])
    [block] = cut(tmp_path, b"a,b", monkeypatch, 1 << 20)
    assert split_header(block, ",")[0] == ["a", "b"]
    assert cut(tmp_path, b"", monkeypatch, 1 << 20) == []
    assert split_header(csv_rows.CsvBlock(b"", np.zeros(0, np.int64)), ",")[0] == []
