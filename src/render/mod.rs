//! Pictures of maps: colormaps, overlays, views.
