//! Torture on real engines: whatever is killed, frozen or cut off, nothing is lost and nothing runs twice.
//!
//! Jobs that leave evidence of their own are submitted all the time, while the server is killed at random moments, and
//! its engine is killed, frozen and cut off; then all is left in peace, and history is held against the evidence. By
//! default a short form of two stories is told; `make torture` tells them all, at length. `SEED=7` repeats a plan, as
//! far as the engines do.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::thread::sleep;
use std::time::Duration;

use common::daemon::{Cut, Daemon};
use common::evidence::{Allowed, Work};
use common::scene::Scene;
use rand::RngExt;

/// What can be done while jobs start, run and end.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// The server is killed.
    Server,
    /// The engine is killed, and started again.
    Engine,
    /// The engine stands still for a while.
    Frozen,
    /// The network to the engine is cut for a while.
    Network,
}

/// How much of it.
struct Size {
    jobs: usize,
    troubles: usize,
    /// Between one job and the next, in milliseconds: the long form is not to pile up what the engine cannot run.
    pause: u64,
    /// The longest that an engine is away, in milliseconds.
    away: u64,
}

impl Size {
    /// Short, unless `TORTURE=full`.
    fn of(short: (usize, usize), full: (usize, usize)) -> Self {
        let is_full = std::env::var("TORTURE").is_ok_and(|size| size == "full");
        let ((jobs, troubles), pause, away) =
            if is_full { (full, 400, 6_000) } else { (short, 300, 3_000) };
        Self { jobs, troubles, pause, away }
    }
}

/// Tells one story, and fails where the promise was broken.
fn torture(story: &str, daemon: Daemon, troubles: &[Trouble], size: Size, allowed: Allowed) {
    let seed = std::env::var("SEED")
        .map_or_else(|_| rand::random_range(0..1_000_000), |seed| seed.parse().unwrap());
    eprintln!("{story}: SEED={seed}");
    let mut scene = Scene::new(daemon, seed);
    let load = scene.load(size.jobs, Duration::from_millis(size.pause), Work::plain, |_, _| {});
    sleep(Duration::from_secs(1));
    for _ in 0..size.troubles {
        let trouble = troubles[scene.rng.random_range(0..troubles.len())];
        strike(&mut scene, trouble, size.away);
    }
    let posted = load.stop();
    scene.rest();
    let tally = scene.check(&posted, allowed);
    eprintln!("{story}: SEED={seed}, kills {}, troubles {}, {tally}", scene.kills, size.troubles);
    tally.assert_kept();
}

fn strike(scene: &mut Scene, trouble: Trouble, away: u64) {
    match trouble {
        Trouble::Server => scene.kill_server(),
        Trouble::Engine => {
            scene.nap(0..2 * away);
            scene.daemon.kill();
            meanwhile(scene, away);
            scene.daemon.up();
        }
        Trouble::Frozen => {
            scene.nap(0..2 * away);
            scene.daemon.freeze();
            meanwhile(scene, away);
            scene.daemon.thaw();
        }
        Trouble::Network => {
            scene.nap(0..2 * away);
            let how = if scene.rng.random_bool(0.5) { Cut::Refused } else { Cut::Silence };
            scene.daemon.cut(how);
            meanwhile(scene, away);
            scene.daemon.mend();
        }
    }
}

/// The engine is away. Half of the time the server dies over that; now and then it takes longer than a fence waits.
fn meanwhile(scene: &mut Scene, away: u64) {
    scene.nap(0..away);
    if scene.rng.random_bool(0.5) {
        scene.server_goes();
        scene.server_returns();
    }
    if away > 5_000 && scene.rng.random_ratio(1, 8) {
        scene.nap(30_000..65_000);
    }
}

#[test]
fn the_server_is_killed_at_any_moment() {
    torture(
        "server killed",
        Daemon::start(),
        &[Trouble::Server],
        Size::of((60, 18), (300, 100)),
        Allowed::default(),
    );
}

#[test]
fn everything_is_killed_frozen_and_cut_off() {
    let allowed = Allowed { engine_restarted: true, engine_killed: true };
    let troubles = [Trouble::Server, Trouble::Engine, Trouble::Frozen, Trouble::Network];
    torture(
        "everything",
        Daemon::over_tls(false),
        &troubles,
        Size::of((40, 6), (300, 24)),
        allowed,
    );
}

#[test]
#[ignore = "long: `make torture`"]
fn everything_is_killed_frozen_and_cut_off_with_live_restore() {
    let allowed = Allowed { engine_killed: true, ..Allowed::default() };
    let troubles = [Trouble::Server, Trouble::Engine, Trouble::Frozen, Trouble::Network];
    torture(
        "everything, live-restore",
        Daemon::over_tls(true),
        &troubles,
        Size::of((40, 6), (300, 24)),
        allowed,
    );
}

#[test]
#[ignore = "long: `make torture`"]
fn the_engine_is_killed_and_takes_its_containers_along() {
    let allowed = Allowed { engine_restarted: true, engine_killed: true };
    torture(
        "engine killed",
        Daemon::over_tls(false),
        &[Trouble::Engine],
        Size::of((40, 4), (300, 15)),
        allowed,
    );
}

#[test]
#[ignore = "long: `make torture`"]
fn the_engine_is_killed_and_its_containers_run_on() {
    let allowed = Allowed { engine_killed: true, ..Allowed::default() };
    let size = Size::of((40, 4), (300, 15));
    torture(
        "engine killed, live-restore",
        Daemon::over_tls(true),
        &[Trouble::Engine],
        size,
        allowed,
    );
}

#[test]
#[ignore = "long: `make torture`"]
fn the_engine_stands_still() {
    let size = Size::of((40, 4), (300, 15));
    torture("engine frozen", Daemon::over_tls(false), &[Trouble::Frozen], size, Allowed::default());
}

#[test]
#[ignore = "long: `make torture`"]
fn the_network_to_the_engine_is_cut() {
    let size = Size::of((40, 4), (300, 15));
    torture("network cut", Daemon::over_tls(false), &[Trouble::Network], size, Allowed::default());
}
