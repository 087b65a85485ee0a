"""A record as one HTML page.

page     the page around the figure: headline, facts, then the tables of `tables`, in the style of `style`
figure   weights and live sessions (`panels`) and a lane per call (`lanes`) over one time axis
lanes    the lane per call: sessions as bars, turns, moves, cuts and refusals as marks
acts     what the platform did, as few labels
colours  a colour for each revision
"""
