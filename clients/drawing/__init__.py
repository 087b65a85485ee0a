"""A record as one HTML page.

page    the page around the figure: headline, numbers, tables, and their style
figure  weights, live sessions and a lane per call over one time axis
marks   a colour for each revision, and the acts of the platform as few labels
"""
