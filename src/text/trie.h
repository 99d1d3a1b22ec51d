/* trie.h - a byte trie over a fixed set of texts, as one flat array. */
#ifndef TRIE_H
#define TRIE_H

#include "err.h"
#include "str.h"

struct trie_node {
    uint32_t first;      /* its children stand together, ordered by byte */
    uint16_t n_children;
    uint8_t byte;        /* that leads here */
    int32_t value;       /* of the text that ends here, or -1 */
};

struct trie {
    struct trie_node *nodes; /* [0] is the root; NULL: an empty set */
    size_t n, capacity;
};

struct trie_entry {
    struct str text; /* never empty */
    int32_t value;
};

/* Sorts the entries; of equal texts the last one by value wins. */
int trie_new(struct trie *t, struct trie_entry *entries, size_t n, struct redline_err *err);
void trie_free(struct trie *t);

/* The child of node for this byte, or 0 (the root is nobody's child). */
uint32_t trie_step(const struct trie *t, uint32_t node, unsigned char byte);

#endif
