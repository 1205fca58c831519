# SPDX-License-Identifier: LGPL-2.1-only
"""Time over the number of VDIs, both logarithmic, as an SVG."""

import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 980, 520
LEFT, RIGHT, TOP, BOTTOM = 80, 350, 50, 60
COLOURS = ('#0b5394', '#6fa8dc', '#38761d', '#93c47d', '#cc0000', '#e69138', '#674ea7')


def svg(title, series):
    """series: [(name, [(VDIs, median, lowest, highest)])], times in milliseconds. Returns the document as text."""
    points = [point for _, line in series for point in line]
    across = _Axis([point[0] for point in points], LEFT, WIDTH - RIGHT)
    up = _Axis([value for point in points for value in point[2:]], HEIGHT - BOTTOM, TOP)
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">' % (WIDTH, HEIGHT),
             '<title>%s</title>' % escape(title),
             '<rect width="100%" height="100%" fill="white"/>',
             _text(LEFT, TOP - 22, title, 'font-size="16"')]
    for value in up.ticks():
        place = up.at(value)
        parts.append('<path d="M%d %.1fH%d" stroke="#ddd"/>' % (LEFT, place, WIDTH - RIGHT))
        parts.append(_text(LEFT - 8, place + 4, '%g ms' % value if value < 1000 else '%g s' % (value / 1000), 'text-anchor="end"'))
    for value in sorted({point[0] for point in points}):
        place = across.at(value)
        parts.append('<path d="M%.1f %dV%d" stroke="#ddd"/>' % (place, TOP, HEIGHT - BOTTOM))
        parts.append(_text(place, HEIGHT - BOTTOM + 20, str(value), 'text-anchor="middle"'))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 18, 'VDIs', 'text-anchor="middle"'))
    for number, (name, line) in enumerate(series):
        parts.extend(_line(name, line, COLOURS[number % len(COLOURS)], across, up, number))
    return '\n'.join(parts + ['</svg>', ''])


class _Axis:
    """A logarithmic scale from values to pixels."""

    def __init__(self, values, start, end):
        self.low, self.high = math.log10(min(values)), math.log10(max(values))
        if self.high == self.low:
            self.high += 1
        self.start, self.end = start, end

    def at(self, value):
        return self.start + (math.log10(value) - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self):
        return [10.0 ** power for power in range(math.ceil(self.low), math.floor(self.high) + 1)]


def _line(name, line, colour, across, up, number):
    places = [(across.at(point[0]), up.at(point[1])) for point in line]
    yield '<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>' % (colour, ' '.join('%.1f,%.1f' % place for place in places))
    for (size, _, low, high), (x, y) in zip(line, places):
        yield '<path d="M%.1f %.1fV%.1f" stroke="%s"/>' % (x, up.at(low), up.at(high), colour)
        yield '<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"><title>%s, %d VDIs</title></circle>' % (x, y, colour, escape(name), size)
    y = TOP + 20 + number * 22
    yield '<path d="M%d %dh24" stroke="%s" stroke-width="2"/>' % (WIDTH - RIGHT + 16, y - 4, colour)
    yield _text(WIDTH - RIGHT + 46, y, name)


def _text(x, y, words, more=''):
    return '<text x="%.1f" y="%.1f" %s>%s</text>' % (x, y, more, escape(words))
