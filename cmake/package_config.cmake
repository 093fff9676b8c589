# For cpack: the configuration file, from where it is installed for who wants to copy it.
file(COPY ${CPACK_TEMPORARY_INSTALL_DIRECTORY}/usr/share/jailrun/jailrun.conf
     DESTINATION ${CPACK_TEMPORARY_INSTALL_DIRECTORY}/etc/jailrun)
