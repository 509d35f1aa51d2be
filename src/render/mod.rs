//! Pictures of maps: colormaps, overlays, views.

mod colormap;
mod error;
mod jet;
mod layout;
mod library;
mod margin;
mod mark;
mod scene;
mod seed;
mod sheet;
mod style;
mod text;

pub use colormap::{Colormap, Table};
pub use error::RenderError;
pub use library::LibraryStyle;
pub use mark::Mark;
pub use scene::Scene;
pub use sheet::{Tile, sheet};
pub use style::{Alpha, BadAlpha, Style, View};
