//! Worlds that the promises are about: each can be reached, so that no promise is empty.

use crate::model::World;
use crate::model::rows::{Campaign, Gate, State};
use crate::model::scope;
use crate::search::reaches;

fn held(world: &World) -> i8 {
    world.held().iter().sum()
}

fn granted(world: &World) -> i8 {
    world.shards.iter().map(|shard| shard.granted).sum()
}

fn are_open(world: &World) -> bool {
    world.record.state == Campaign::Open && world.shards.iter().all(|shard| shard.gate == Gate::Open)
}

fn is_any(world: &World, state: State) -> bool {
    world.devices.iter().any(|device| device.claim.is_some_and(|claim| claim.state == state))
}

#[test]
fn a_place_is_given_on_until_every_attempt_is_spent() {
    reaches("fail1", scope::FAIL1, |world| granted(world) == 4);
}

#[test]
fn a_device_is_proved_at_its_second_attempt() {
    reaches("proof", scope::PROOF, |world| {
        world
            .devices
            .iter()
            .any(|device| device.claim.is_some_and(|claim| claim.state == State::Proved && claim.epoch == 2))
    });
}

#[test]
fn a_lost_device_is_open_again() {
    reaches("silent", scope::SILENT, |world| world.devices[0].seen > 2 && is_any(world, State::Open));
}

#[test]
fn a_lower_limit_is_in_force_and_used_up() {
    reaches("down", scope::DOWN, |world| are_open(world) && world.record.limit == 1 && held(world) == 1);
}

#[test]
fn a_higher_limit_is_in_force_and_used_up() {
    reaches("up", scope::UP, |world| are_open(world) && held(world) == 2);
}

#[test]
fn a_device_is_granted_after_a_resume() {
    reaches("resume", scope::RESUME, |world| are_open(world) && world.resumes_left == 0 && held(world) == 2);
}

#[test]
fn a_device_is_granted_after_a_product_stop() {
    reaches("product", scope::PRODUCT, |world| {
        are_open(world) && !world.can_stop_product && !world.head.is_stopped && held(world) == 1
    });
}

#[test]
fn a_failure_holds_the_campaign() {
    reaches("verdict", scope::VERDICT, |world| world.record.state == Campaign::Held && granted(world) == 2);
}

#[test]
fn every_device_is_granted_under_the_headroom() {
    reaches("headroom", scope::HEADROOM, |world| granted(world) == 3);
}

#[test]
fn mature_devices_let_more_places_be_held_than_the_limit() {
    reaches("ramp", scope::RAMP, |world| held(world) > world.record.limit);
}

#[test]
fn two_periods_are_used_up() {
    reaches("period", scope::PERIOD, |world| world.grants_in[..2] == [2, 2]);
}

#[test]
fn a_folded_tally_gives_its_places_on() {
    reaches("fold", scope::FOLD, |world| world.base.has_folded && granted(world) == 4);
}

#[test]
fn a_repaired_campaign_gives_every_place() {
    reaches("repair", scope::REPAIR, |world| {
        are_open(world) && world.has_lost_records && world.record.number > 0 && held(world) == 2
    });
}

#[test]
fn a_stop_is_acknowledged_while_a_device_holds_a_claim() {
    reaches("head", scope::HEAD, |world| world.is_stopped() && held(world) == 1);
}

#[test]
fn a_url_is_signed_after_a_resume() {
    reaches("head resume", scope::HEAD_RESUME, |world| {
        let is_signing = world.visit.is_some_and(|visit| visit.is_signing());
        is_signing && world.resumes_left == 0 && !world.head.has_halted && are_open(world)
    });
}

#[test]
fn a_url_is_live_at_the_second_attempt() {
    reaches("urls", scope::URLS, |world| {
        let device = &world.devices[0];
        device.url_ends > world.clock && device.claim.is_some_and(|claim| claim.epoch == 2)
    });
}
