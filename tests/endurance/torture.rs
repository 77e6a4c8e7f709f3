//! Torture tests on real engines: after kills, freezes and network cuts, no job is lost and none
//! runs twice.
//!
//! A thread submits jobs that leave evidence, while the server is killed at random moments, and its
//! engine is killed, frozen and cut off. Once every job is over, history is compared with the
//! evidence. By default two of the runs take place, in a short form; `make torture` runs all of
//! them at full length. `SEED=7` repeats a plan, as far as the engines allow.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::thread::sleep;
use std::time::Duration;

use crate::support::daemon::{Cut, Daemon};
use crate::support::evidence::{Allowed, Work};
use crate::support::scene::Scene;
use rand::RngExt;

/// The faults that can be injected while jobs start, run and end.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// Kills the server, and starts it again.
    Server,
    /// Kills the engine, and starts it again.
    Engine,
    /// Freezes the engine for a while.
    Frozen,
    /// Cuts the network to the engine for a while.
    Network,
}

/// The length of a run.
struct Size {
    jobs: usize,
    troubles: usize,
    /// The pause between two jobs, in milliseconds. The long form pauses longer, so jobs do not
    /// pile up beyond the engine's capacity.
    pause: u64,
    /// The longest absence of the engine, in milliseconds.
    away: u64,
}

impl Size {
    /// Returns the short form, or the full form if `TORTURE=full`.
    fn of(short: (usize, usize), full: (usize, usize)) -> Self {
        let is_full = std::env::var("TORTURE").is_ok_and(|size| size == "full");
        let ((jobs, troubles), pause, away) =
            if is_full { (full, 400, 6_000) } else { (short, 300, 3_000) };
        Self { jobs, troubles, pause, away }
    }
}

/// Performs one run, and fails if the promise was broken.
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

/// Waits while the engine is away. Half of the time also kills the server; now and then waits
/// longer than a fence.
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
fn server_is_killed_at_random_moments() {
    torture(
        "server killed",
        Daemon::start(),
        &[Trouble::Server],
        Size::of((60, 18), (300, 100)),
        Allowed::default(),
    );
}

#[test]
fn server_and_engine_are_killed_frozen_and_cut() {
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
fn all_faults_with_live_restore() {
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
fn engine_is_killed_with_its_containers() {
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
fn engine_is_killed_and_containers_survive() {
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
fn engine_is_frozen() {
    let size = Size::of((40, 4), (300, 15));
    torture("engine frozen", Daemon::over_tls(false), &[Trouble::Frozen], size, Allowed::default());
}

#[test]
#[ignore = "long: `make torture`"]
fn network_to_the_engine_is_cut() {
    let size = Size::of((40, 4), (300, 15));
    torture("network cut", Daemon::over_tls(false), &[Trouble::Network], size, Allowed::default());
}
