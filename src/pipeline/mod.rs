//! Many pictures: reading, the network and what is done with the results, all at the same time.
//!
//! Inputs are taken from an iterator one by one as room becomes free, so that a million of them need no more memory than a
//! hundred. Worker threads read and prepare pictures and finish what the network has explained; one thread runs the network,
//! batch after batch; the caller's thread is given the results in the order of the inputs. Whichever part is slowest sets the
//! pace: the others wait for it.
//!
//! ```
//! use std::ops::ControlFlow;
//! use std::path::PathBuf;
//!
//! use camshaft::input::Picture;
//! use camshaft::{Engine, Error, Request};
//!
//! let engine = Engine::builder().build()?;
//! let files = ["assets/demo/meadow.jpg", "missing.jpg"].map(PathBuf::from);
//! let mut found = Vec::new();
//! engine.pipeline(&Request::top(1)).run(
//!     files,
//!     |file, room| Ok::<_, Error>(Picture::open_within(file, room)?),
//!     |file, explained| (file, explained.map(|explained| explained.explanation.maps.len())), // on a worker: draw, encode, write
//!     |(file, maps)| {
//!         found.push((file, maps.is_ok())); // here, in order
//!         ControlFlow::Continue(())
//!     },
//! )?;
//! assert_eq!(found, [("assets/demo/meadow.jpg".into(), true), ("missing.jpg".into(), false)]);
//! # Ok::<(), camshaft::Error>(())
//! ```

mod forward;
mod shard;
mod window;

use std::num::NonZero;
use std::ops::ControlFlow;
use std::thread;

use crate::Error;
use crate::engine::{Engine, Explanation, Request};
use crate::input::{Input, Picture};

pub use shard::{BadShard, Shard};

use forward::Forward;
use window::{Taken, Window};

/// Bytes of pictures in memory at a time, unless told otherwise: 1 GiB.
pub const DEFAULT_MEMORY: u64 = 1 << 30;

/// An [`Engine`] at work on many pictures. Made by [`Engine::pipeline`].
pub struct Pipeline<'e> {
    engine: &'e Engine,
    request: &'e Request,
    workers: usize,
    memory: u64,
    photos: bool,
}

/// One picture, explained.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The picture that was read, if [`Pipeline::photos`] asked to keep it.
    pub photo: Option<Picture>,
    /// What was found.
    pub explanation: Explanation,
}

/// A picture that waits for the network.
struct Prepared {
    photo: Option<Picture>,
    input: Input,
}

impl Engine {
    /// Explains many pictures: reading, the network and what is done with the results overlap. See [`crate::pipeline`].
    pub fn pipeline<'e>(&'e self, request: &'e Request) -> Pipeline<'e> {
        Pipeline::new(self, request)
    }
}

impl<'e> Pipeline<'e> {
    fn new(engine: &'e Engine, request: &'e Request) -> Self {
        let workers = thread::available_parallelism().map_or(1, NonZero::get);
        Self { engine, request, workers, memory: DEFAULT_MEMORY, photos: false }
    }

    /// Threads that read pictures and finish results, at least 1. Default: one per core.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// Bytes of pictures, read or being read, from which on further ones wait. A picture that needs more than that is read all
    /// the same, when all those before it are done with. Default: [`DEFAULT_MEMORY`].
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// Whether the picture itself is kept for the results, beside the crop that the network saw. Default: it is not.
    pub fn photos(mut self, keep: bool) -> Self {
        self.photos = keep;
        self
    }

    /// Inputs between the iterator and `each`: two batches at the network, one being read, and two a worker.
    fn depth(&self) -> usize {
        self.engine.batch().saturating_mul(3).saturating_add(self.workers.saturating_mul(2))
    }

    /// Takes `inputs` through all stages; returns when the last result was handed to `each`, or `each` broke off.
    ///
    /// - `read` opens a picture, on a worker. It is given a function to be told of the bytes that it is about to take, which
    ///   returns when there is room for them; [`Picture::open_within`] does that.
    /// - `finish` is given what became of an input, on a worker.
    /// - `each` is given what `finish` returned, in the order of the inputs, on this thread. If it breaks off, no further input is
    ///   read, and what is under way is dropped. (To end early and keep what is under way, end the iterator.)
    ///
    /// Inputs share a forward pass as they follow each other, `Engine::batch` at a time, those that failed left out; if a pass
    /// fails, its pictures are tried one by one, so that the one at fault fails alone.
    ///
    /// # Errors
    /// [`Error::Threads`] if the operating system refuses threads; nothing was read then.
    ///
    /// # Panics
    /// If one of the functions does: the other threads are ended first.
    pub fn run<I: Send, E: From<Error> + Send, T: Send>(
        &self,
        inputs: impl IntoIterator<Item = I, IntoIter: Send>,
        read: impl Fn(&I, &mut dyn FnMut(u64)) -> Result<Picture, E> + Sync,
        finish: impl Fn(I, Result<Explained, E>) -> T + Sync,
        mut each: impl FnMut(T) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let window = Window::new(inputs.into_iter(), self.depth(), self.engine.batch(), self.memory);
        let prepare = |picture: Picture| {
            let input = self.engine.prepare(&picture)?;
            Ok(Prepared { photo: self.photos.then_some(picture), input })
        };
        let finish = |index, input, explained| {
            // One of its own: `read` may be waiting for room meanwhile, and whatever it calls may catch panics.
            let _guard = window.guard();
            window.put_done(index, finish(input, explained));
        };
        let work = || {
            let _guard = window.guard();
            while let Some(taken) = window.take() {
                match taken {
                    Taken::Input(index, input) => {
                        let mut room = window.room(index);
                        let prepared = read(&input, &mut |bytes| room.take(bytes, &finish)).and_then(prepare);
                        let held = prepared.as_ref().map_or(0, Prepared::bytes);
                        room.put(input, prepared, held);
                    }
                    Taken::Explained(index, input, explained) => finish(index, input, explained),
                }
            }
        };
        let forward = Forward { engine: self.engine, request: self.request };
        let run_network = || {
            let _guard = window.guard();
            // A batch is handed to the network before the results of the one before are waited for, if it is there already.
            let mut under_way = None;
            loop {
                let batch = if under_way.is_none() { window.take_batch() } else { window.take_batch_if_ready() };
                let next = batch.map(|(first, batch)| (first, forward.submit(batch)));
                let Some((first, before)) = std::mem::replace(&mut under_way, next) else {
                    if under_way.is_none() {
                        break;
                    }
                    continue;
                };
                window.put_batch(first, forward.collect(before));
            }
        };
        let done = thread::scope(|scope| {
            let _guard = window.guard();
            let spawn = |name: &str, run| thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, run).map(drop);
            let network: Box<dyn FnOnce() + Send> = Box::new(run_network);
            let workers = (0..self.workers).map(|_| ("worker", Box::new(work) as Box<dyn FnOnce() + Send>));
            for (name, run) in workers.chain([("network", network)]) {
                if let Err(source) = spawn(name, run) {
                    window.stop();
                    return Err(Error::Threads { threads: self.workers.saturating_add(1), source });
                }
            }
            while let Some(done) = window.next_done() {
                if each(done).is_break() {
                    window.stop();
                }
            }
            Ok(())
        });
        assert!(!window.panicked(), "`finish` panicked, and `read` has caught that");
        done
    }
}

impl Prepared {
    /// What it takes in memory until the network has seen it.
    fn bytes(&self) -> u64 {
        bytes(self.photo.as_ref(), &self.input)
    }
}

/// What a picture and its input take in memory; an input that has not been cut shares the picture.
fn bytes(photo: Option<&Picture>, input: &Input) -> u64 {
    let photo = photo.filter(|_| input.photograph().is_none()).map_or(0, |photo| photo.rgb.as_raw().len() as u64);
    photo + input.bytes()
}
