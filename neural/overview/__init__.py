"""A capture or a Gaussian scene at a glance: cameras and points from above and from the side, and its photographs.

`contents` is what is shown, `plan` draws it as a picture, `page` as a page that turns; `unused` finds photographs that
lie beside those of the capture and have no camera.
"""
