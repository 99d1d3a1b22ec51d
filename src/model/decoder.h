/* decoder.h - the decoder: from a batch to the list of operations. */
#ifndef DECODER_H
#define DECODER_H

#include "model.h"

/* Number of operations of any step of this model. */
int decoder_n_ops(const struct hparams *h);

/* Writes m->step.ops and m->op_device for the batch that m->step.batch describes; in the order of the paper. */
void decoder_write(struct model *m);

#endif
