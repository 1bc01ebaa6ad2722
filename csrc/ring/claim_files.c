#include "ring/claim_files.h"
#include "base/file.h"
#include "channel/wake.h"
#include "store/files.h"
#include "store/table_lock.h"

static uint64_t size_of(uint64_t slots) {
    return rip_round_up(sizeof(struct rip_claims) + slots * sizeof(uint64_t), RIP_PAGE);
}

/* Opens the file if it exists. *slots: the number of slots in its header, checked. */
static int find(struct rip_channel *ch, struct rip_file_key file, uint64_t *slots, struct rip_mapping *out) {
    int rc = rip_file_open(&ch->handle, file, 1, out);
    if (rc != 0) {
        return rc;
    }
    const volatile struct rip_claims *claims = out->at; /* volatile: read once */
    *slots = out->size < sizeof *claims ? 0 : claims->slots;
    if (*slots == 0 || *slots > RIP_MAX_SLOTS || (*slots & (*slots - 1)) || out->size != size_of(*slots)) {
        rip_mapping_close(out);
        return -EBADMSG;
    }
    return 0;
}

/* Is the file small enough to be allocated while the lock is held? */
static int is_quick(const struct rip_mapping *mapping) { return mapping->size <= RIP_CLAIMS_AT_ONCE; }

static int fill(struct rip_channel *ch, struct rip_mapping *mapping, int is_new) {
    int is_short = is_quick(mapping), locked = 0;
    if (!is_short) {
        rip_unlock(&ch->handle); /* the membership keeps the channel alive */
    }
    int rc = is_new ? rip_file_allocate(mapping, mapping->size) : rip_populate(mapping->at, mapping->size, 1);
    if (!is_short) {
        locked = rip_relock(&ch->handle);
    }
    return locked ? locked : rc;
}

/* Are this group and this lane still in the tables? */
static int are_there(const struct rip_control *control, uint32_t group, uint32_t lane, struct rip_file_key file) {
    const struct rip_lane_entry *entry = &control->lanes[lane];
    /* relaxed: under the lock */
    return atomic_load_explicit(&control->groups_active, memory_order_relaxed) >> group & 1 &&
           rip_group_id(control, group) == file.of[0] &&
           atomic_load_explicit(&entry->state, memory_order_relaxed) != RIP_LANE_FREE &&
           rip_lane_id(entry) == file.of[1];
}

/* -EEXIST: another process has created the file meanwhile. */
static int open_once(struct rip_channel *ch, uint32_t group, uint32_t lane, uint64_t slots, struct rip_mapping *out) {
    struct rip_file_key file =
        rip_claims_file(rip_group_id(ch->control, group), rip_lane_id(&ch->control->lanes[lane]));
    uint64_t has = slots;
    int rc = find(ch, file, &has, out), is_new = rc == -ENOENT;
    if (is_new) {
        /* created earlier by this member, and left without a name because the lock was not obtained */
        rip_files_remove_incomplete(&ch->handle, ch->handle.member);
        rc = rip_file_create(&ch->handle, size_of(slots), size_of(slots), out);
    }
    rc = rc ? rc : has != slots ? -EBADMSG : fill(ch, out, is_new);
    rc = rc ? rc : are_there(ch->control, group, lane, file) ? 0 : -ENOENT;
    if (rc == 0 && is_new) {
        struct rip_claims *claims = out->at; /* all zero, so all words are FREE */
        claims->slots = slots;
        rc = rip_file_name(&ch->handle, file, out);
    }
    if (rc != 0) {
        rip_mapping_close(out);
        if (is_new && ch->handle.locked) {
            rip_files_remove_incomplete(&ch->handle, ch->handle.member);
        }
        return rc;
    }
    rip_mapping_close_fd(out); /* the mapping is enough */
    return 0;
}

int rip_claims_open(struct rip_channel *ch, uint32_t group, uint32_t lane, uint64_t slots, struct rip_mapping *out) {
    int rc = open_once(ch, group, lane, slots, out);
    return rc == -EEXIST ? open_once(ch, group, lane, slots, out) : rc;
}

enum rip_claim rip_claim_read(struct rip_channel *ch, uint64_t group, uint64_t lane, uint64_t slots, uint64_t seq,
                              uint32_t *member) {
    struct rip_file_word word = {.offset = offsetof(struct rip_claims, words) +
                                           (size_t)(seq & (slots - 1)) * sizeof(uint64_t)};
    int rc = rip_try_lock(&ch->handle); /* extents are found under the lock */
    if (rc == 0) {
        rc = rip_file_read(&ch->handle, rip_claims_file(group, lane), &word, 1);
        rip_unlock(&ch->handle);
    }
    enum rip_claim state = rip_claim_state(word.value, slots, seq, member);
    return rc == 0 ? state : RIP_CLAIM_FREE;
}

uint64_t rip_claims_read_unacked(struct rip_channel *ch, uint64_t group, uint64_t lane, uint64_t slots,
                                 uint64_t released, uint64_t tail) {
    struct rip_mapping mapping;
    uint64_t has, done = released;
    if (released >= tail || rip_try_lock(&ch->handle) != 0) { /* as in rip_claim_read */
        return released;
    }
    int rc = find(ch, rip_claims_file(group, lane), &has, &mapping);
    rip_unlock(&ch->handle);
    if (rc == 0) {
        done = has == slots ? rip_claims_first_unacked(mapping.at, slots, released, tail) : released;
        rip_mapping_close(&mapping);
    }
    return done;
}

/* find, and loads all pages. */
static int find_whole(struct rip_channel *ch, struct rip_file_key file, uint64_t *slots, struct rip_mapping *out) {
    int rc = find(ch, file, slots, out);
    if (rc == 0) {
        rc = rip_populate(out->at, out->size, 1);
        if (rc != 0) {
            rip_mapping_close(out);
        }
    }
    return rc;
}

int rip_claims_requeue(struct rip_channel *ch, uint32_t group, uint32_t member) {
    struct rip_control *control = ch->control;
    int result = 0;
    for (uint32_t i = 0; i < rip_lanes_used(control); i++) {
        struct rip_lane_entry *lane = &control->lanes[i];
        struct rip_mapping mapping = {.fd = -1};
        uint64_t slots;
        if (atomic_load_explicit(&lane->state, memory_order_relaxed) == RIP_LANE_FREE) {
            continue;
        }
        struct rip_claims *claims = ch->claims_of ? ch->claims_of(ch, group, i, &slots) : NULL;
        int rc =
            claims ? 0
                   : find_whole(ch, rip_claims_file(rip_group_id(control, group), rip_lane_id(lane)), &slots, &mapping);
        /* the file is missing because no member has mapped this lane, is damaged, or cannot be opened now */
        if (rc != 0) {
            result = rip_is_resource_error(rc) ? rc : result;
            continue;
        }
        claims = claims ? claims : mapping.at;
        rip_claims_requeue_member(claims, slots, &lane->cursors[group], lane, member);
        rip_mapping_close(&mapping);
        rip_wake_lane(ch, lane);
    }
    rip_wake_group(ch, group, RIP_POLLFD_ARMED);
    return result;
}
