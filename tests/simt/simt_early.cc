/* simt_early.cc - a kernel may begin while those in front of it run: nothing that they write is there before
 * grid_wait().
 *
 * While kernels follow one another on a device, each page that they write to is kept as it was before the first of
 * them.  One block of each kernel that may begin early then runs as far as grid_wait() with all those bytes poisoned
 * that differ.  What it computes of them is wrong, and what it writes over them is lost. */
#include "simt.h"

#include <string.h>

#include <map>
#include <vector>

typedef std::vector<unsigned char> page;

static std::map<int, std::map<unsigned char *, page>> kept; /* of each device */
static std::map<unsigned char *, page> hidden;              /* pages as kernels have left them */
static int hidden_of;

void simt_early_keep(int device, void *at)
{
    unsigned char *p = (unsigned char *)at;
    kept[device].emplace(p, page(p, p + SIMT_PAGE));
}

void simt_early_forget(int device)
{
    kept[device].clear();
}

std::vector<void *> simt_early_pages(int device)
{
    std::vector<void *> pages;
    for (auto &k : kept[device]) pages.push_back(k.first);
    return pages;
}

void simt_early_hide(int device)
{
    hidden_of = device;
    for (auto &k : kept[device]) {
        if (memcmp(k.first, k.second.data(), SIMT_PAGE) == 0) continue;
        const page &now = hidden[k.first] = page(k.first, k.first + SIMT_PAGE);
        for (size_t i = 0; i < SIMT_PAGE; i++)
            if (now[i] != k.second[i]) k.first[i] = SIMT_POISON;
    }
}

void simt_early_show(void)
{
    for (auto &h : hidden) {
        const page &was = kept[hidden_of][h.first];
        for (size_t i = 0; i < SIMT_PAGE; i++)
            if (h.second[i] != was[i]) h.first[i] = h.second[i];
    }
    hidden.clear();
}
