//! What is written of a map: the paper's way, or a library's.

use camshaft::cam::{Library, Map, Method, Normalisation};
use camshaft::engine::{ClassMap, Request};
use camshaft::input::Input;
use camshaft::render::{Alpha, Colormap, LibraryStyle, RenderError, Scene, Style, View};
use image::RgbImage;

use super::Usage;
use super::args::CamArgs;

/// The choices of a run about pictures.
#[derive(Clone, Copy)]
pub struct Look {
    colormap: Option<Colormap>,
    alpha: Option<Alpha>,
    normalise: Option<Normalisation>,
    view: View,
    library: Option<Library>,
}

impl Look {
    /// What the command line says.
    pub fn new(args: &CamArgs) -> Result<Self, Usage> {
        let CamArgs { colormap, alpha, normalise, view, .. } = *args;
        let library = args.methods.compat;
        if library.is_some() && view != View::Crop {
            return Err(Usage("--compat draws on what the network saw; leave --view out".to_owned()));
        }
        Ok(Self { colormap, alpha, normalise, view, library })
    }

    /// How the maps of `method` are drawn, as the manifest tells it.
    pub fn style(&self, method: Method) -> Style {
        let library = self.library.map(LibraryStyle::of);
        Style {
            colormap: self.colormap.or(library.map(|style| style.colormap)).unwrap_or_default(),
            alpha: self.alpha.or(library.map(|style| style.alpha)).unwrap_or_default(),
            normalisation: self.normalise.unwrap_or(method.normalisation()),
        }
        .in_view(self.view)
    }

    /// `request` with overlays as [`Look::style`] draws them.
    pub fn ask(&self, request: Request, method: Method) -> Request {
        let request = request.overlay(self.style(method));
        if self.normalise.is_none() { request.own_normalisation() } else { request }
    }

    /// The normalisation of `method`'s maps; none that has a name where a library's is used.
    pub fn normalisation(&self, method: Method) -> Option<Normalisation> {
        self.library.is_none().then(|| self.style(method).normalisation)
    }

    /// `class`, ready to be drawn on `scene`, the view of `input`.
    pub fn drawing<'a>(&self, scene: &'a Scene<'a>, input: &'a Input, class: &'a ClassMap) -> Result<Drawing<'a>, RenderError> {
        let style = self.style(class.method);
        let (h, w) = (input.h(), input.w());
        Ok(match self.library {
            None => Drawing::Own { scene, map: &class.map, style, size: (h, w) },
            Some(library) => {
                let maps = if class.parts.is_empty() { std::slice::from_ref(&class.map) } else { &class.parts };
                let (map, shown) = library.show(class.method, maps, h, w)?;
                let Style { colormap, alpha, .. } = style;
                Drawing::Library { input, map, shown, style: LibraryStyle { library, colormap, alpha } }
            }
        })
    }
}

/// A map that can be drawn and written.
pub enum Drawing<'a> {
    /// As the papers say.
    Own { scene: &'a Scene<'a>, map: &'a Map, style: Style, size: (usize, usize) },
    /// As a library does.
    Library { input: &'a Input, map: Map, shown: Map, style: LibraryStyle },
}

impl Drawing<'_> {
    /// The photograph under the colours.
    pub fn overlay(&self) -> Result<RgbImage, RenderError> {
        match self {
            Self::Own { scene, map, style, .. } => scene.overlay(map, style),
            Self::Library { input, shown, style, .. } => style.overlay(input.crop(), shown),
        }
    }

    /// The colours alone.
    pub fn heatmap(&self) -> Result<RgbImage, RenderError> {
        match self {
            Self::Own { scene, map, style, .. } => scene.heatmap(map, style),
            Self::Library { shown, style, .. } => style.heatmap(shown),
        }
    }

    /// The map at the size of `layer4`: raw and signed, or as the library has it.
    pub fn cells(&self) -> &Map {
        match self {
            Self::Own { map, .. } => map,
            Self::Library { map, .. } => map,
        }
    }

    /// The map at the size of the crop.
    pub fn pixels(&self) -> Map {
        match self {
            Self::Own { map, size: (h, w), .. } => map.upsample(*h, *w),
            Self::Library { shown, .. } => shown.clone(),
        }
    }
}
