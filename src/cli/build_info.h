/* build_info.h - which revision of the sources this program is; made by cmake/build_info.cmake. */
#ifndef BUILD_INFO_H
#define BUILD_INFO_H

extern const char build_commit[]; /* "b123ae10b", with + where files had changes; "unknown" outside of git */
extern const int build_number;    /* revisions up to it; 0 outside of git */

#endif
