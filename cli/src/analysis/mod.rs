//! Analyses as people read them: `text` on a terminal, `html` in a browser with the plots of
//! `plot`.

pub mod html;
mod plot;
pub mod text;
