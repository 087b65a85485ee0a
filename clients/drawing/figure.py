"""The figure: weights, live sessions and a lane per call, over one time axis in seconds since the first observation."""

import html

import plotly.graph_objects as go  # type: ignore[import-untyped]
from plotly.subplots import make_subplots  # type: ignore[import-untyped]

from clients.drawing import acts, lanes, panels
from clients.drawing.colours import GRID, INK, colours
from clients.evidence import Evidence
from clients.judging.rollback import Rollout

WEIGHTS_PX, LIVE_PX, GAP_PX, LABEL_PX, FOOT_PX = 80, 130, 34, 16, 46
PLOT_PX = 720.0
"""The least width of the plot, for which labels are placed: a narrower screen scrolls."""
EDGE = 0.01
"""Of the time axis, at both its ends."""


def figure(evidence: Evidence, rollout: Rollout) -> go.Figure:
    zero, span_s = evidence.began, max(evidence.ended - evidence.began, 1.0)
    edge_s = EDGE * span_s
    colour = colours(evidence, rollout)
    lane = lanes.arrange(evidence)
    lanes_px = max(60.0, lane.count * lane.px + 8)
    labels = [each for each in acts.labels(evidence, zero - edge_s) if each.at <= evidence.ended + edge_s]
    relative = [acts.Label(each.at - zero, each.until - zero, each.text, each.times) for each in labels]
    rows = acts.rows(relative, span_s + 2 * edge_s, PLOT_PX)
    top_px = 58 + LABEL_PX * (max(rows, default=0) + 1)
    heights = [WEIGHTS_PX, LIVE_PX, lanes_px]
    inner_px = sum(heights) + 2 * GAP_PX
    drawing = make_subplots(
        rows=3,
        cols=1,
        shared_xaxes=True,
        row_heights=heights,
        vertical_spacing=GAP_PX / inner_px,
    )
    for trace in panels.weights(evidence, colour, zero):
        drawing.add_trace(trace, row=1, col=1)
    for trace in panels.live_sessions(evidence, colour, zero):
        drawing.add_trace(trace, row=2, col=1)
    for trace in lanes.traces(evidence, lane, colour, zero):
        drawing.add_trace(trace, row=3, col=1)
    _axes(drawing, lane, span_s)
    _label(drawing, relative, rows, inner_px)
    _headings(drawing, lane)
    drawing.update_layout(
        height=inner_px + top_px + FOOT_PX,
        margin={"l": 54, "r": 14, "t": top_px, "b": FOOT_PX},
        barmode="overlay",
        bargap=0,
        hovermode="closest",
        plot_bgcolor="white",
        paper_bgcolor="white",
        font={"family": "system-ui, sans-serif", "size": 12, "color": INK},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yref": "container", "yanchor": "top"},
        hoverlabel={"align": "left"},
    )
    return drawing


def _axes(drawing: go.Figure, lane: lanes.Lanes, span_s: float) -> None:
    drawing.update_xaxes(range=[-EDGE * span_s, (1 + EDGE) * span_s], showgrid=True, gridcolor=GRID, zeroline=False)
    drawing.update_xaxes(title_text="seconds since the first observation", title_standoff=6, row=3, col=1)
    drawing.update_yaxes(showgrid=True, gridcolor=GRID, zeroline=False, title_standoff=4)
    drawing.update_yaxes(title_text="weight", range=[0, 100], tickvals=[0, 50, 100], row=1, col=1)
    drawing.update_yaxes(title_text="live calls", rangemode="tozero", nticks=5, row=2, col=1)
    every = 1 if lane.px >= 12 else 5 if lane.px >= 7 else 10
    ticks = {row: str(call) for (_, call), row in lane.of.items() if call % every == 0 or (call == 1 and every < 10)}
    drawing.update_yaxes(
        title_text="call",
        range=[lane.count - 0.2, -0.5],
        tickvals=list(ticks),
        ticktext=list(ticks.values()),
        tickfont={"size": 10},
        showgrid=False,
        row=3,
        col=1,
    )


def _label(drawing: go.Figure, labels: list[acts.Label], rows: list[int], inner_px: float) -> None:
    """A line through all three panels and a label above them; what belongs together has one."""
    for label, row in zip(labels, rows, strict=True):
        above_px = 4 + LABEL_PX * row
        drawing.add_shape(
            type="line",
            xref="x",
            yref="paper",
            x0=label.at,
            x1=label.at,
            y0=0,
            y1=1 + above_px / inner_px,
            line={"color": "rgba(34,39,46,.45)", "width": 1, "dash": "dot"},
            layer="above",
        )
        drawing.add_annotation(
            xref="x",
            yref="paper",
            x=label.at,
            y=1,
            xanchor="left",
            yanchor="bottom",
            yshift=above_px - 3,
            xshift=1,
            text=html.escape(label.words),
            showarrow=False,
            font={"size": 11},
            bgcolor="rgba(255,255,255,.75)",
            borderpad=0,
        )


def _headings(drawing: go.Figure, lane: lanes.Lanes) -> None:
    for row, text in lane.headings:
        drawing.add_annotation(
            xref="x3 domain",
            yref="y3",
            x=0,
            y=row,
            xanchor="left",
            yanchor="middle",
            text=f"<b>{text}</b>",
            showarrow=False,
            font={"size": 11},
        )
