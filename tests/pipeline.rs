//! Many pictures through the pipeline: the same results as without it, in order, within bounds, and never a thread that hangs.

mod common;

use std::cell::Cell;
use std::ops::ControlFlow::{Break, Continue};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::time::Duration;

use camshaft::input::{Picture, Recipe};
use camshaft::pipeline::Explained;
use camshaft::{Device, Engine, Error, Request};
use common::watchdog::Watchdog;
use image::{Rgb, RgbImage};

/// The bundled model on small inputs.
fn engine(batch: usize) -> Engine {
    let mut recipe = Recipe::default();
    (recipe.resize, recipe.crop) = (None, Some(32));
    Engine::builder().device(Device::Cpu).threads(1).recipe(recipe).batch(batch).build().unwrap()
}

fn picture(index: usize) -> Picture {
    let side = 20 + index as u32 % 30;
    let rgb = RgbImage::from_fn(side, side, |x, y| Rgb([(x * 7 + index as u32 * 31) as u8, (y * 11) as u8, (x * y) as u8]));
    Picture::from_rgb(format!("picture {index}"), rgb)
}

/// Every seventh input fails, some of them side by side.
fn read(index: &usize) -> Result<Picture, String> {
    if index % 7 == 3 || (20..25).contains(index) { Err(format!("no {index}")) } else { Ok(picture(*index)) }
}

/// A library error or a test's own.
struct Fault(String);

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

/// What became of an input, in a form that can be compared to the bit.
type Seen = Result<(Vec<u32>, Vec<u32>), String>;

fn seen(explained: Result<Explained, Fault>) -> Seen {
    let Explained { explanation, photo } = explained.map_err(|Fault(message)| message)?;
    assert!(photo.is_none(), "not asked for");
    let map = &explanation.maps[0];
    Ok((
        explanation.predictions.iter().map(|prediction| prediction.logit.to_bits()).collect(),
        map.map.data().iter().map(|v| v.to_bits()).collect(),
    ))
}

#[test]
fn results_are_those_of_plain_batches_and_in_order() {
    const INPUTS: usize = 53;
    let request = Request::top(1);
    for (batch, workers) in [(1, 1), (1, 4), (3, 2), (8, 1), (8, 3), (64, 2)] {
        let engine = engine(batch);
        // Batch by batch and without threads: a product's last bits may depend on what else is in its batch.
        let mut want: Vec<Seen> = Vec::new();
        for first in (0..INPUTS).step_by(batch) {
            let inputs: Vec<_> = (first..INPUTS.min(first + batch)).map(|index| read(&index)).collect();
            let good: Vec<_> = inputs.iter().flatten().cloned().collect();
            let mut explained = engine.explain(&good, &request).unwrap().into_iter();
            want.extend(inputs.into_iter().map(|input| {
                let explanation = input.map(|_| explained.next().unwrap());
                seen(explanation.map(|explanation| Explained { photo: None, explanation }).map_err(Fault))
            }));
        }
        assert_eq!((want.len(), want.iter().filter(|one| one.is_err()).count()), (INPUTS, 12));
        let mut got = Vec::new();
        let pipeline = engine.pipeline(&request).workers(workers);
        let finish = |index, explained| (index, seen(explained));
        let done = pipeline.run(
            0..INPUTS,
            |index, _| read(index).map_err(Fault),
            finish,
            |(index, seen)| {
                assert_eq!(index, got.len(), "in order");
                got.push(seen);
                Continue(())
            },
        );
        done.unwrap();
        assert!(got == want, "batch {batch}, {workers} workers");
    }
    // None at all is no error.
    engine(8).pipeline(&request).run(0..0, |index, _| read(index).map_err(Fault), |_, _| (), |()| unreachable!()).unwrap();
}

/// A picture that the network refuses fails alone, whatever batch it is in.
#[test]
fn a_picture_at_fault_fails_alone() {
    let mut recipe = Recipe::default();
    (recipe.resize, recipe.crop) = (None, None);
    let engine = Engine::builder().device(Device::Cpu).threads(1).recipe(recipe).batch(4).build().unwrap();
    let mut good = Vec::new();
    let read = |index: &usize, _: &mut dyn FnMut(u64)| {
        let (w, h) = if *index == 5 { (0, 0) } else { (40, 40) };
        Ok::<_, Fault>(Picture::from_rgb("x", RgbImage::new(w, h)))
    };
    let request = Request::top(1);
    engine
        .pipeline(&request)
        .run(
            0..9,
            read,
            |_, explained| explained.is_ok(),
            |ok| {
                good.push(ok);
                Continue(())
            },
        )
        .unwrap();
    assert_eq!(good, [true, true, true, true, true, false, true, true, true]);
}

/// A hundred thousand inputs, of which no more than a few are under way at any time, however slow the last stage is.
#[test]
fn inputs_wait_for_their_turn() {
    let (engine, request) = (engine(8), Request::top(1));
    let (taken, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let inputs = (0..100_000).inspect(|_| {
        taken.fetch_add(1, SeqCst);
    });
    let mut most = 0;
    let read = |index: &usize, _: &mut dyn FnMut(u64)| Err(Fault(format!("no {index}")));
    let each = |index: usize| {
        assert_eq!(index, done.fetch_add(1, SeqCst));
        if index.is_multiple_of(10_000) {
            std::thread::sleep(Duration::from_millis(20)); // the others run ahead as far as they may
        }
        most = most.max(taken.load(SeqCst) - done.load(SeqCst));
        Continue(())
    };
    engine.pipeline(&request).workers(2).run(inputs, read, |index, _| index, each).unwrap();
    assert_eq!(done.into_inner(), 100_000);
    // Three batches of eight and two a worker, and one that the iterator has given but that has no slot yet.
    assert!((20..=29).contains(&most), "{most} under way");
}

/// Pictures wait for memory; one that is larger than all the room there is is read alone. Photographs are kept here, so that
/// memory is free only when a result is finished.
#[test]
fn memory_is_bounded() {
    let (engine, request) = (engine(4), Request::top(1));
    const ROOM: u64 = 10_000_000;
    let (held, most) = (AtomicU64::new(0), AtomicU64::new(0));
    // Most take 3 MB; some 12 MB, more than the room.
    let bytes = |index: usize| if index % 10 == 6 { 12_000_000 } else { 3_000_000 };
    let read = |index: &usize, room: &mut dyn FnMut(u64)| {
        room(bytes(*index));
        let now = held.fetch_add(bytes(*index), SeqCst) + bytes(*index);
        most.fetch_max(now, SeqCst);
        let side = ((bytes(*index) / 3) as f64).sqrt() as u32;
        Ok::<_, Fault>(Picture::from_rgb("x", RgbImage::new(side, side)))
    };
    let finish = |index, explained: Result<Explained, Fault>| {
        assert!(explained.is_ok_and(|explained| explained.photo.is_some()));
        held.fetch_sub(bytes(index), SeqCst);
        index
    };
    let mut next = 0;
    let each = |index| {
        assert_eq!(index, next);
        next += 1;
        Continue(())
    };
    engine.pipeline(&request).workers(4).memory(ROOM).photos(true).run(0..40, read, finish, each).unwrap();
    assert_eq!((next, held.into_inner()), (40, 0));
    let most = most.into_inner();
    assert!((6_000_000..=ROOM + 12_000_000).contains(&most), "{most} bytes at a time");
}

/// While one input is being finished, later ones are read: shown by a finish that waits for such a read.
#[test]
fn stages_overlap() {
    let (engine, request) = (engine(2), Request::top(1));
    let (send, receive) = mpsc::channel();
    let receive = std::sync::Mutex::new(receive);
    let read = |index: &usize, _: &mut dyn FnMut(u64)| {
        if *index == 5 {
            send.send(()).unwrap();
        }
        Ok::<_, Fault>(picture(*index))
    };
    let finish = |index, _| index != 0 || receive.lock().unwrap().recv_timeout(Duration::from_secs(30)).is_ok();
    let mut all = true;
    engine
        .pipeline(&request)
        .workers(2)
        .run(0..8, read, finish, |overlapped| {
            all &= overlapped;
            Continue(())
        })
        .unwrap();
    assert!(all, "nothing was read while the first input was being finished");
}

#[test]
fn breaking_off_ends_soon() {
    let (engine, request) = (engine(2), Request::top(1));
    let (reads, mut shown) = (AtomicUsize::new(0), 0);
    let read = |index: &usize, _: &mut dyn FnMut(u64)| {
        reads.fetch_add(1, SeqCst);
        Ok::<_, Fault>(picture(*index))
    };
    let each = |index| {
        shown += 1;
        if index == 4 { Break(()) } else { Continue(()) }
    };
    engine.pipeline(&request).workers(2).run(0.., read, |index, _| index, each).unwrap();
    assert_eq!(shown, 5);
    assert!(reads.into_inner() <= 5 + 3 * 2 + 2 * 2 + 1);
}

/// An iterator that ends, as after Ctrl-C: everything that was taken from it is finished.
#[test]
fn what_is_under_way_is_finished() {
    let (engine, request) = (engine(4), Request::top(1));
    let done = AtomicUsize::new(0);
    let inputs = (0..1000).take_while(|_| done.load(SeqCst) < 6);
    let (mut shown, read) = (Vec::new(), |index: &usize, _: &mut dyn FnMut(u64)| Ok::<_, Fault>(picture(*index)));
    let each = |index: usize| {
        done.fetch_add(1, SeqCst);
        shown.push(index);
        Continue(())
    };
    engine.pipeline(&request).workers(2).run(inputs, read, |index, _| index, each).unwrap();
    assert!((6..60).contains(&shown.len()), "{}", shown.len());
    assert!(shown.iter().copied().eq(0..shown.len()));
}

/// A panic in any of the caller's functions comes out, and no thread is left waiting.
#[test]
fn panics_come_out() {
    let (engine, request) = (engine(2), Request::top(1));
    for at in ["source", "read", "finish", "each"] {
        let here = |stage: &str, index: usize| assert!(!(stage == at && index == 9), "on purpose");
        let run = || {
            engine.pipeline(&request).workers(2).run(
                (0..50).inspect(|&index| here("source", index)),
                |index, room| {
                    here("read", *index);
                    room(1);
                    Ok::<_, Fault>(picture(*index))
                },
                |index, _| {
                    here("finish", index);
                    index
                },
                |index| {
                    here("each", index);
                    Continue(())
                },
            )
        };
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err(), "{at}");
    }
}

/// A reader that waits for room finishes others meanwhile. What panics there passes through the reader, which here, as the one of
/// picture files, takes it for a fault of its own picture.
#[test]
fn panics_come_out_of_a_reader_that_waits_for_room() {
    let _watchdog = Watchdog::new("a panic under a reader");
    thread_local! {
        static READS: Cell<bool> = const { Cell::new(false) };
    }
    let (engine, request) = (engine(1), Request::top(1));
    let read = |index: &usize, room: &mut dyn FnMut(u64)| {
        READS.set(true);
        let read = catch_unwind(AssertUnwindSafe(|| room(1000)));
        READS.set(false);
        read.map(|()| picture(*index)).map_err(|_| Fault("the decoder gave up".to_owned()))
    };
    let finish = |index: usize, _| {
        assert!(!READS.get(), "on purpose");
        index
    };
    let pipeline = engine.pipeline(&request).workers(1).memory(1);
    assert!(catch_unwind(AssertUnwindSafe(|| pipeline.run(0..500, read, finish, |_| Continue(())))).is_err());
}

/// Numbers that no machine has room for are bounds, not sizes.
#[test]
fn bounds_may_be_as_large_as_they_like() {
    let _watchdog = Watchdog::new("large bounds");
    let (engine, request) = (engine(usize::MAX), Request::top(1));
    let mut shown = 0;
    let read = |index: &usize, room: &mut dyn FnMut(u64)| {
        room(u64::MAX);
        room(u64::MAX);
        Ok::<_, Fault>(picture(*index))
    };
    let each = |index| {
        assert_eq!(index, shown);
        shown += 1;
        Continue(())
    };
    engine.pipeline(&request).workers(2).memory(u64::MAX).run(0..9, read, |index, _| index, each).unwrap();
    assert_eq!(shown, 9);
}
