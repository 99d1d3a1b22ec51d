/* chat_form.h - the Jinja text of a chat template in one spelling, so that templates can be compared.
 *
 * Two templates with the same form write the same conversations.  The form has no white space between
 * tokens but the blank that keeps two words apart, strings in '...' and joined where '+' joins them,
 * message['role'] for message.role, literal text as a string that is written out, and neighbouring
 * outputs as one:
 *
 *     {{- "<|im_start|>" + message.role }}{{ '\n' }}     {{'<|im_start|>'+message['role']+'\n'}}
 *
 * White space around blocks counts as transformers has it (trim_blocks and lstrip_blocks). */
#ifndef CHAT_FORM_H
#define CHAT_FORM_H

#include "str.h"

/* Appends the form.  REDLINE_FORMAT for a text that breaks off in the middle of a block. */
int chat_form(struct str jinja, struct buf *out, struct redline_err *err);

/* Appends what the inside of a string of a form stands for; false: it has an escape that forms do not
 * know. */
int chat_form_string(struct str inside, struct buf *out, bool *known, struct redline_err *err);

#endif
